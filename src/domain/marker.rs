//! The marker in a row's comment: how we know that a row is ours.

use std::fmt;

use super::SiteId;

/// What every marker begins with.
pub const MARKER_PREFIX: &str = "sitepeer:";
/// The key that tells the IPv6 twin of a row apart.
const IPV6_KEY: &str = "ipv6";

/// `sitepeer:<id>:<role>[:<key>]`, the first word of the comment of a row that is ours.
///
/// People may write behind it, parted by a space; that text is theirs and is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker {
    /// Whose row it is.
    pub site: SiteId,
    /// What the row is for.
    pub role: Role,
    /// Tells rows of one role apart: a prefix or a family.
    pub key: Option<String>,
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a row of ours is for.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Role {
            $($(#[$doc])* $name,)*
            /// A role this version does not know: made by a newer one.
            Unknown(String),
        }

        impl Role {
            /// Returns the word in the marker.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown(text) => text,
                }
            }

            fn parse(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)*
                    _ => Self::Unknown(text.to_owned()),
                }
            }
        }
    };
}

roles! {
    /// The WireGuard interface.
    Interface = "if",
    /// The hub as a peer of it.
    Peer = "hub",
    /// Our own interface list.
    InterfaceList = "list",
    /// The interface in that list.
    ListMember = "member",
    /// A tunnel address, keyed by itself.
    Address = "addr",
    /// A route into the tunnel, keyed by its prefix.
    Route = "route",
    /// An entry of the list of our subnets, keyed by its prefix.
    Ours = "ours",
    /// An entry of the list of their subnets, keyed by its prefix.
    Theirs = "theirs",
    /// Accepts their subnets to ours in chain forward.
    ForwardIn = "fwd-in",
    /// Accepts our subnets to theirs in chain forward.
    ForwardOut = "fwd-out",
    /// Accepts WireGuard's own UDP port in chain input.
    InputPort = "in-wg",
    /// Accepts their ICMP in chain input.
    InputIcmp = "in-icmp",
    /// Keeps source NAT off the traffic between the sites.
    NoNat = "no-nat",
    /// Clamps the MSS of TCP into the tunnel.
    Mss = "mss",
    /// Says that a run of ours is at work; expires by itself.
    Lock = "lock",
    /// A script that puts the router back, and what runs it; gone when the run that made it is confirmed.
    Guard = "guard",
}

impl Marker {
    /// Makes a marker without a key.
    #[must_use]
    pub fn new(site: &SiteId, role: Role) -> Self {
        Self { site: site.clone(), role, key: None }
    }

    /// Makes a marker with a key; a key holds no white space.
    #[must_use]
    pub fn keyed(site: &SiteId, role: Role, key: impl fmt::Display) -> Self {
        Self { site: site.clone(), role, key: Some(key.to_string()) }
    }

    /// Makes the marker of a row that belongs to one tunnel. Of the first generation it has no key, as when there was only one.
    #[must_use]
    pub fn of_tunnel(site: &SiteId, role: Role, generation: u32) -> Self {
        if generation == 0 { Self::new(site, role) } else { Self::keyed(site, role, generation) }
    }

    /// Returns which tunnel the row belongs to, or `None` if it belongs to the site, whichever tunnel is in use.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        let key = self.key.as_deref().unwrap_or_default();
        let number = match self.role {
            Role::Interface | Role::Peer | Role::ListMember => key,
            Role::InputPort => key.strip_prefix(IPV6_KEY).map_or(key, |rest| rest.strip_prefix('-').unwrap_or(rest)),
            _ => return None,
        };
        if number.is_empty() { Some(0) } else { number.parse().ok() }
    }

    /// Makes the marker of the IPv6 twin of a row.
    #[must_use]
    pub fn twin(self) -> Self {
        let key = self.key.as_ref().map_or_else(|| IPV6_KEY.to_owned(), |key| format!("{IPV6_KEY}-{key}"));
        Self { key: Some(key), ..self }
    }

    /// Reads the marker at the beginning of a comment; `None` if the row is not ours.
    ///
    /// The comment is bytes, because RouterOS declares no encoding; what follows the first word is not looked at.
    #[must_use]
    pub fn of_comment(comment: &[u8]) -> Option<Self> {
        let word = comment.split(u8::is_ascii_whitespace).next()?;
        let mut parts = std::str::from_utf8(word).ok()?.strip_prefix(MARKER_PREFIX)?.splitn(3, ':');
        let site = parts.next()?.parse().ok()?;
        let role = parts.next().filter(|role| !role.is_empty())?;
        Some(Self { site, role: Role::parse(role), key: parts.next().map(str::to_owned) })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARKER_PREFIX}{}:{}", self.site, self.role.as_str())?;
        match &self.key {
            Some(key) => write!(f, ":{key}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        let id: SiteId = "k3f9q2".parse().unwrap();
        for marker in [
            Marker::new(&id, Role::Interface),
            Marker::keyed(&id, Role::Route, "10.0.0.0/8"),
            Marker::keyed(&id, Role::Address, "fd00::2/64"),
        ] {
            let mut comment = marker.to_string().into_bytes();
            assert_eq!(Marker::of_comment(&comment), Some(marker.clone()));
            comment.extend_from_slice(b" caf\xe9, do not touch");
            assert_eq!(Marker::of_comment(&comment), Some(marker));
        }
    }

    #[test]
    fn a_row_of_one_tunnel_tells_which_and_the_first_is_marked_as_ever() {
        let id: SiteId = "k3f9q2".parse().unwrap();
        for generation in [0, 1, 12, u32::MAX] {
            for role in [Role::Interface, Role::Peer, Role::ListMember, Role::InputPort] {
                assert_eq!(Marker::of_tunnel(&id, role, generation).generation(), Some(generation));
            }
            let twin = Marker::of_tunnel(&id, Role::InputPort, generation).twin();
            assert_eq!(twin.generation(), Some(generation), "{twin}");
        }
        assert_eq!(Marker::of_tunnel(&id, Role::Interface, 0).to_string(), "sitepeer:k3f9q2:if");
        assert_eq!(Marker::of_tunnel(&id, Role::Peer, 2).to_string(), "sitepeer:k3f9q2:hub:2");
        assert_eq!(Marker::new(&id, Role::InputPort).twin().to_string(), "sitepeer:k3f9q2:in-wg:ipv6");
        assert_eq!(Marker::new(&id, Role::InterfaceList).generation(), None);
        assert_eq!(Marker::keyed(&id, Role::Route, "10.0.0.0/8").generation(), None);
    }

    #[test]
    fn a_comment_that_only_looks_like_a_marker_is_foreign() {
        for foreign in [
            "",
            "sitepeer",
            "sitepeer:k3f9q2",
            "sitepeer:k3f9q2:",
            "sitepeer:K!:if",
            " sitepeer:k3f9q2:if",
            "see sitepeer:k3f9q2:if",
        ] {
            assert_eq!(Marker::of_comment(foreign.as_bytes()), None, "{foreign:?}");
        }
    }

    #[test]
    fn a_role_of_a_newer_version_is_kept_as_it_is() {
        let marker = Marker::of_comment(b"sitepeer:k3f9q2:deadman:x").unwrap();
        assert_eq!(marker.role, Role::Unknown("deadman".into()));
        assert_eq!(marker.to_string(), "sitepeer:k3f9q2:deadman:x");
    }
}
