//! Every finding there is: its code, what it means, what it follows from, how long it must hold, and the way out.
//!
//! The one table is [`CODES`]. Codes are a contract: they are stored by hubs and read by scripts, and never change their meaning.

use std::time::Duration;

use crate::api::Severity;

/// A finding's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// No row of this site is on the router.
    NotProvisioned,
    /// It is not certain which rows are ours.
    RowsAmbiguous,
    /// Our WireGuard interface is gone.
    InterfaceMissing,
    /// Our WireGuard interface is disabled.
    InterfaceDisabled,
    /// Our peer row is gone.
    PeerMissing,
    /// Our peer row is disabled.
    PeerDisabled,
    /// The hub has switched this peer off.
    PeerDisabledAtHub,
    /// The hub's name has no address on the router.
    EndpointUnresolved,
    /// The hub would be sought inside its own tunnel.
    EndpointInReach,
    /// The router has no way to the Internet.
    WanDown,
    /// One end does not have the other's key.
    WrongKey,
    /// The router's clock is behind.
    ClockBehind,
    /// The router speaks to an address that the hub's name does not stand for any more.
    StaleEndpoint,
    /// The hub's gateway is away.
    HubDown,
    /// UDP does not get from the router to the hub.
    NoUdpEgress,
    /// Nothing comes back, and what is left to blame cannot be told apart from here.
    NoReply,
    /// The router does not ping for this user.
    PingRefused,
    /// The tunnel lives, but the hub's probe does not answer.
    NoAnswer,
    /// A network of the router's own overlaps what is reached through the tunnel.
    OverlapWithLan,
    /// Another route wins over ours.
    RouteShadowed,
    /// The peer's allowed addresses leave something out.
    AllowedAddressMismatch,
    /// Long packets vanish on the way.
    MtuBlackHole,
    /// Source NAT would rewrite the sites' traffic.
    NatBreaksTunnel,
    /// `FastTrack` takes the sites' traffic before our rules do.
    FasttrackConflict,
    /// A firewall rule takes the sites' traffic before our rules do.
    FirewallBlocks,
    /// Rows of ours are not as they should be.
    RowsDrifted,
    /// A subnet that answered does not any more.
    SubnetUnreachable,
    /// Some packets are lost.
    PacketLoss,
    /// The router's processor has no time left.
    RouterOverloaded,
    /// The service that we come by is closed to us.
    ServiceClosed,
    /// The router cannot be reached.
    RouterUnreachable,
    /// The router does not let us in.
    LoginRefused,
    /// Somebody holds the router's safe mode.
    #[cfg(feature = "proxy")]
    SafeModeHeld,
    /// Device-mode forbids something that we may need.
    DeviceModeBlocks,
    /// The clock is not set by anybody.
    ClockUnsynchronized,
    /// The router started anew.
    RouterRebooted,
    /// The router has another address towards the Internet.
    WanChanged,
    /// A move to the next tunnel would lose packets, and is not begun.
    MoveHeld,
    /// A change is being made, and the router undoes it unless it is confirmed.
    #[cfg(feature = "proxy")]
    GuardArmed,
    /// A guard that nobody took out, and that will never run.
    #[cfg(feature = "proxy")]
    GuardLeftOver,
}

/// What is fixed about a code.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The code.
    pub code: Code,
    /// The stable word.
    pub word: &'static str,
    /// What it means for the tunnel.
    pub severity: Severity,
    /// Causes that explain it: while one of them is there, this one is not shown.
    pub silenced_by: &'static [Code],
    /// How long it must hold before it shows, and be gone before it goes.
    pub hold: Duration,
    /// The way out; `{interface}`, `{endpoint}`, `{net}` and `{key}` are filled in.
    pub hint: &'static str,
}

/// Facts that were read need no time to be believed.
const AT_ONCE: Duration = Duration::ZERO;
/// What a single measurement may get wrong has to be seen for longer than one of them.
const A_WHILE: Duration = Duration::from_secs(20);
/// What comes and goes by itself: a minute is what people notice.
const A_MINUTE: Duration = Duration::from_mins(1);

/// The rows that a tunnel stands on.
const ROWS: &[Code] = &[
    Code::NotProvisioned,
    Code::InterfaceMissing,
    Code::InterfaceDisabled,
    Code::PeerMissing,
    Code::PeerDisabled,
    Code::PeerDisabledAtHub,
];
/// What keeps a handshake from being made, rows first.
const NO_SESSION: &[Code] = &[
    Code::NotProvisioned,
    Code::InterfaceMissing,
    Code::InterfaceDisabled,
    Code::PeerMissing,
    Code::PeerDisabled,
    Code::PeerDisabledAtHub,
    Code::WanDown,
    Code::EndpointUnresolved,
    Code::EndpointInReach,
    Code::WrongKey,
    Code::ClockBehind,
    Code::StaleEndpoint,
    Code::HubDown,
];
/// The same, and that no UDP gets through: what nothing comes back for.
const SILENCE: &[Code] = &[
    Code::NotProvisioned,
    Code::InterfaceMissing,
    Code::InterfaceDisabled,
    Code::PeerMissing,
    Code::PeerDisabled,
    Code::PeerDisabledAtHub,
    Code::WanDown,
    Code::EndpointUnresolved,
    Code::EndpointInReach,
    Code::WrongKey,
    Code::ClockBehind,
    Code::StaleEndpoint,
    Code::HubDown,
    Code::NoUdpEgress,
    Code::NoReply,
];
/// What makes a subnet or the probe silent while the tunnel lives.
const PARTS: &[Code] = &[
    Code::NotProvisioned,
    Code::InterfaceMissing,
    Code::InterfaceDisabled,
    Code::PeerMissing,
    Code::PeerDisabled,
    Code::PeerDisabledAtHub,
    Code::WanDown,
    Code::EndpointUnresolved,
    Code::EndpointInReach,
    Code::WrongKey,
    Code::ClockBehind,
    Code::StaleEndpoint,
    Code::HubDown,
    Code::NoUdpEgress,
    Code::NoReply,
    Code::OverlapWithLan,
    Code::RouteShadowed,
    Code::AllowedAddressMismatch,
];
/// The same, and that nothing comes back at all.
const LOSS: &[Code] = &[
    Code::NotProvisioned,
    Code::WanDown,
    Code::HubDown,
    Code::NoUdpEgress,
    Code::NoReply,
    Code::NoAnswer,
    Code::OverlapWithLan,
    Code::RouteShadowed,
];
/// What already says which row is not as it should be.
const NAMED_ROWS: &[Code] = &[
    Code::NotProvisioned,
    Code::RowsAmbiguous,
    Code::InterfaceMissing,
    Code::InterfaceDisabled,
    Code::PeerMissing,
    Code::PeerDisabled,
];

macro_rules! codes {
    ($($(#[$only:meta])? $code:ident $word:literal $severity:ident $silenced:expr, $hold:expr, $hint:literal;)*) => {
        /// All codes: causes that lie deepest first, which is the order they are shown in.
        pub const CODES: &[About] = &[$($(#[$only])? About {
            code: Code::$code,
            word: $word,
            severity: Severity::$severity,
            silenced_by: $silenced,
            hold: $hold,
            hint: $hint,
        }),*];
    };
}

codes! {
    RouterUnreachable "router-unreachable" Critical &[], AT_ONCE,
        "is it switched on, and may this host reach it? On the router: /ip/service/print, /ip/firewall/filter/print";
    LoginRefused "login-refused" Critical &[], AT_ONCE,
        "the user needs the policies read, write, test and api: /user/print, /user/group/print";
    NotProvisioned "not-provisioned" Critical &[], AT_ONCE,
        "sitepeer provision makes the tunnel";
    RowsAmbiguous "rows-ambiguous" Warning &[], AT_ONCE,
        "look at the rows that carry the same marker, and take the comment off the one that sitepeer did not make";
    InterfaceMissing "interface-missing" Critical &[Code::NotProvisioned, Code::PeerDisabledAtHub], AT_ONCE,
        "sitepeer provision makes it again; then enter its new public key at the hub";
    InterfaceDisabled "interface-disabled" Critical &[Code::NotProvisioned, Code::PeerDisabledAtHub], AT_ONCE,
        "/interface/wireguard/enable [find name=\"{interface}\"]";
    PeerMissing "peer-missing" Critical &[Code::NotProvisioned, Code::InterfaceMissing, Code::PeerDisabledAtHub], AT_ONCE,
        "sitepeer provision makes it again";
    PeerDisabled "peer-disabled" Critical &[Code::NotProvisioned, Code::InterfaceMissing, Code::PeerDisabledAtHub], AT_ONCE,
        "/interface/wireguard/peers/enable [find interface=\"{interface}\"]";
    PeerDisabledAtHub "peer-disabled-at-hub" Info &[], AT_ONCE,
        "switch it on at the hub: sitepeer hub peer enable";
    WanDown "wan-down" Critical ROWS, AT_ONCE,
        "look at the router's way out: /ip/route/print where dst-address=0.0.0.0/0, /ip/dhcp-client/print, /interface/print";
    EndpointUnresolved "endpoint-unresolved" Critical &[Code::NotProvisioned, Code::PeerDisabledAtHub, Code::WanDown], AT_ONCE,
        "give the router a DNS server, such as /ip/dns/set servers=9.9.9.9, or use an address in `endpoints`";
    EndpointInReach "endpoint-in-reach" Critical ROWS, AT_ONCE,
        "leave the hub's address out of `reach`";
    WrongKey "wrong-key" Critical &[Code::NotProvisioned, Code::InterfaceMissing, Code::PeerMissing, Code::PeerDisabledAtHub], AT_ONCE,
        "the hub must have this router's public key {key}, and the router the hub's: sitepeer provision sets it";
    ClockBehind "clock-behind" Critical &[Code::NotProvisioned, Code::InterfaceMissing, Code::InterfaceDisabled,
        Code::PeerMissing, Code::PeerDisabled, Code::PeerDisabledAtHub, Code::WrongKey], AT_ONCE,
        "/system/ntp/client/set enabled=yes servers=pool.ntp.org, or /system/clock/set date=… time=…";
    StaleEndpoint "stale-endpoint" Critical &[Code::NotProvisioned, Code::InterfaceMissing, Code::InterfaceDisabled,
        Code::PeerMissing, Code::PeerDisabled, Code::PeerDisabledAtHub, Code::WanDown, Code::EndpointUnresolved], AT_ONCE,
        "/interface/wireguard/peers/set [find interface=\"{interface}\"] endpoint-address={host} endpoint-port={port}";
    HubDown "hub-down" Critical &[Code::NotProvisioned, Code::InterfaceMissing, Code::InterfaceDisabled, Code::PeerMissing,
        Code::PeerDisabled, Code::PeerDisabledAtHub, Code::WanDown, Code::EndpointUnresolved, Code::StaleEndpoint], AT_ONCE,
        "nothing is to be done on this router: look at the gateway of {endpoint}";
    NoUdpEgress "no-udp-egress" Critical NO_SESSION, AT_ONCE,
        "let UDP to {endpoint} out on the way: /ip/firewall/filter/print where chain=output, then the provider's firewall; \
         the hub's WireGuard must run there";
    NoReply "no-reply" Critical &[Code::NotProvisioned, Code::InterfaceMissing, Code::InterfaceDisabled, Code::PeerMissing,
        Code::PeerDisabled, Code::PeerDisabledAtHub, Code::WanDown, Code::EndpointUnresolved, Code::EndpointInReach,
        Code::WrongKey, Code::ClockBehind, Code::StaleEndpoint, Code::HubDown, Code::NoUdpEgress], AT_ONCE,
        "check UDP to {endpoint} on the way, and that the hub has this router's public key {key}";
    PingRefused "ping-refused" Warning ROWS, AT_ONCE,
        "give the user's group the policy test: /user/group/set policy=…";
    OverlapWithLan "overlap-with-lan" Warning &[], AT_ONCE,
        "two networks of one address range cannot both be reached: renumber one, or leave {net} out of the site config";
    RouteShadowed "route-shadowed" Warning &[Code::NotProvisioned, Code::InterfaceMissing, Code::InterfaceDisabled,
        Code::OverlapWithLan], AT_ONCE,
        "find the other route by /ip/route/print where dst-address={net}; remove it, or set a smaller routing.distance";
    AllowedAddressMismatch "allowed-address-mismatch" Warning ROWS, AT_ONCE,
        "/interface/wireguard/peers/set [find interface=\"{interface}\"] allowed-address={net}";
    MtuBlackHole "mtu-black-hole" Warning SILENCE, AT_ONCE,
        "/interface/wireguard/set [find name=\"{interface}\"] mtu={net}, and the same in the site config";
    NatBreaksTunnel "nat-breaks-tunnel" Warning NAMED_ROWS, AT_ONCE,
        "sitepeer provision puts the rule before the one that rewrites: /ip/firewall/nat/print where chain=srcnat";
    FasttrackConflict "fasttrack-conflict" Warning NAMED_ROWS, AT_ONCE,
        "sitepeer provision puts our rules before FastTrack: /ip/firewall/filter/print where action=fasttrack-connection";
    FirewallBlocks "firewall-blocks" Warning NAMED_ROWS, AT_ONCE,
        "sitepeer provision puts our rules where they belong: /ip/firewall/filter/print where chain=forward";
    RowsDrifted "rows-drifted" Warning NAMED_ROWS, AT_ONCE,
        "sitepeer plan shows what differs, sitepeer provision puts it right";
    NoAnswer "no-answer" Warning PARTS, A_WHILE,
        "at the hub: are this site's addresses among the peer's allowed ones, and may the probe be pinged?";
    SubnetUnreachable "subnet-unreachable" Warning PARTS, A_WHILE,
        "look at the site behind {net}: its tunnel, and whether that host is on";
    PacketLoss "packet-loss" Warning LOSS, A_MINUTE,
        "look for what fills or spoils the line: /interface/monitor-traffic, /tool/ping to the provider's gateway";
    RouterOverloaded "router-overloaded" Warning &[], A_MINUTE,
        "see what takes the time: /tool/profile";
    ServiceClosed "service-closed" Warning &[], AT_ONCE,
        "/ip/service/set api-ssl disabled=no, and let this address in by available-from (before 7.24: address)";
    #[cfg(feature = "proxy")] SafeModeHeld "safe-mode-held" Warning &[], AT_ONCE,
        "let go of it where it was taken (Ctrl-X in that terminal, the button in WinBox), or see whose session it is: /user/active/print";
    DeviceModeBlocks "device-mode-blocks" Warning &[], AT_ONCE,
        "/system/device-mode/update scheduler=yes, and confirm it at the device within five minutes";
    ClockUnsynchronized "clock-unsynchronized" Warning &[Code::ClockBehind], AT_ONCE,
        "/system/ntp/client/set enabled=yes servers=pool.ntp.org";
    #[cfg(feature = "proxy")] GuardArmed "guard-armed" Warning &[], AT_ONCE,
        "somebody is at work on it: wait a minute, then look again";
    #[cfg(feature = "proxy")] GuardLeftOver "guard-left-over" Info &[], AT_ONCE,
        "it does nothing: sitepeer provision --guard or sitepeer remove takes it out";
    RouterRebooted "router-rebooted" Info &[], AT_ONCE,
        "if nobody meant to: /log/print where topics~\"critical\", and the power supply";
    WanChanged "wan-changed" Info &[], AT_ONCE,
        "nothing is to be done: the hub follows";
    MoveHeld "move-held" Info &[], AT_ONCE,
        "/ip/settings/set rp-filter=loose; the move begins within a quarter of an hour then";
}

impl Code {
    /// Returns what is fixed about the code.
    #[must_use]
    pub fn about(self) -> &'static About {
        // Every code has its line in the table, which a test checks; the first one stands in for what cannot happen.
        CODES.iter().find(|about| about.code == self).unwrap_or(&CODES[0])
    }

    /// Returns the stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.about().word
    }

    /// Returns what it means for the tunnel.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.about().severity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_one_line_of_its_own() {
        let words: BTreeSet<&str> = CODES.iter().map(|about| about.word).collect();
        let codes: BTreeSet<Code> = CODES.iter().map(|about| about.code).collect();
        assert_eq!((words.len(), codes.len()), (CODES.len(), CODES.len()));
        for silenced in CODES.iter().flat_map(|about| about.silenced_by).chain([&Code::WanChanged]) {
            assert_eq!(silenced.about().code, *silenced, "{silenced:?} has no line");
        }
        for about in CODES {
            let is_plain = about.word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(is_plain && about.word.len() <= crate::api::MAX_CODE, "{}", about.word);
            assert!(!about.hint.is_empty(), "{} has no way out", about.word);
        }
    }

    #[test]
    fn no_code_silences_itself_by_way_of_others() {
        for about in CODES {
            let mut above: Vec<Code> = about.silenced_by.to_vec();
            let mut next = 0;
            while next < above.len() {
                assert_ne!(above[next], about.code, "{} is silenced by itself", about.word);
                for code in above[next].about().silenced_by {
                    if !above.contains(code) {
                        above.push(*code);
                    }
                }
                next += 1;
            }
        }
    }
}
