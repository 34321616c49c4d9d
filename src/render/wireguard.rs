//! Files of `wg-quick`: a line is a key, `=` and a value, and nothing in a value may begin another line.
//!
//! There is no quoting in this format. Every value here is a word of the field that cannot hold a line's end, but for the title,
//! which people write: the escaper replaces whatever is not printable, so that not even a forgotten check lets a line in. It
//! matters, because `wg-quick` runs what stands behind `PostUp`.

use std::fmt;

use askama::Template;

use super::RenderError;

/// A client's profile.
#[derive(Debug, Template)]
#[template(path = "wireguard/client.conf", config = "templates/askama.toml")]
pub struct ClientConf<'a> {
    /// Stands in the first line, behind `#`.
    pub title: &'a str,
    /// The private key, or what stands in its place.
    pub private_key: &'a str,
    /// Tunnel addresses, with commas between.
    pub addresses: &'a str,
    /// DNS servers and search domains, with commas between; empty for none.
    pub dns: &'a str,
    /// Bytes; `None` lets `wg-quick` find it.
    pub mtu: Option<u16>,
    /// The gateway's key.
    pub public_key: &'a str,
    /// Where the gateway is.
    pub endpoint: &'a str,
    /// Prefixes that go through the tunnel, with commas between.
    pub allowed_ips: &'a str,
    /// Seconds; 0 for none.
    pub keepalive_secs: u16,
}

/// Writes a client's profile.
///
/// # Errors
/// [`RenderError::Template`], which does not happen for the template we ship.
pub fn client_conf(conf: &ClientConf<'_>) -> Result<String, RenderError> {
    let mut text = conf.render()?;
    text.push('\n');
    Ok(text)
}

/// Keeps a value in its line, and outside a comment: a `#` would cut the value off.
#[derive(Debug, Clone, Copy)]
pub struct ConfLine;

impl askama::filters::Escaper for ConfLine {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        // Letters of all languages stay; whatever could end a line or turn the text around does not.
        let harmless = |c: char| c.is_alphanumeric() || (' '..='~').contains(&c) && c != '#';
        string.chars().try_for_each(|c| dest.write_char(if harmless(c) { c } else { '.' }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> ClientConf<'_> {
        ClientConf {
            title: text,
            private_key: "k",
            addresses: "10.99.0.2",
            dns: text,
            mtu: None,
            public_key: "p",
            endpoint: "h:1",
            allowed_ips: "10.0.0.0/8",
            keepalive_secs: 25,
        }
    }

    #[test]
    fn a_profile_is_written_line_by_line() {
        let text = client_conf(&conf("branch")).unwrap();
        assert_eq!(
            text,
            "# branch\n[Interface]\nPrivateKey = k\nAddress = 10.99.0.2\nDNS = branch\n\n[Peer]\nPublicKey = p\n\
             Endpoint = h:1\nAllowedIPs = 10.0.0.0/8\nPersistentKeepalive = 25\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_a_line_of_its_own(hostile in "(\\PC|[\\r\\n\\x0b\\x0c\\u{85}\\u{2028}#=\\[\\]]){1,60}") {
            let (usual, text) = (client_conf(&conf("x")).unwrap(), client_conf(&conf(&hostile)).unwrap());
            assert_eq!(text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}']).count(), usual.lines().count() + 1);
            let keys = |text: &str| text.lines().map(|line| line.split(" = ").next().unwrap_or("").to_owned()).skip(1).collect::<Vec<_>>();
            assert_eq!(keys(&text), keys(&usual));
        }
    }
}
