//! Router URLs, and where the clear is allowed.

use sitepeer::routeros::{
    ConnectError, RouterUrl, connect,
    target::{FailureClass, InvalidUrl, MAX_URL_BYTES, Plaintext, is_private},
};

use crate::fake::listen;

fn parse(text: &str) -> Result<String, InvalidUrl> {
    text.parse::<RouterUrl>().map(|url| url.to_string())
}

#[test]
fn user_port_and_brackets_are_filled_in() {
    for (given, whole) in [
        ("apis://192.168.88.1", "apis://admin@192.168.88.1:8729"),
        ("api://192.168.88.1", "api://admin@192.168.88.1:8728"),
        ("APIS://Jo@Router.Example.net:1234/", "apis://Jo@router.example.net:1234"),
        ("apis://[fd00::1]", "apis://admin@[fd00::1]:8729"),
        ("apis://jo%40example@[fe80::1%eth0]:9", "apis://jo%40example@[fe80::1%eth0]:9"),
        ("apis://[fe80::1%25eth0]", "apis://admin@[fe80::1%eth0]:8729"),
    ] {
        assert_eq!(parse(given).as_deref(), Ok(whole), "{given}");
        assert_eq!(parse(whole).as_deref(), Ok(whole));
    }
}

#[test]
fn what_is_no_router_url_is_refused_by_name() {
    for (given, why) in [
        ("192.168.88.1", InvalidUrl::NoScheme),
        ("https://192.168.88.1", InvalidUrl::UnknownScheme("https".into())),
        ("apis://", InvalidUrl::Host),
        ("apis://@192.168.88.1", InvalidUrl::User),
        ("apis://a%zz@192.168.88.1", InvalidUrl::User),
        ("apis://a%00b@192.168.88.1", InvalidUrl::User),
        ("apis://192.168.88.1/rest", InvalidUrl::Path),
        ("apis://192.168.88.1?x", InvalidUrl::Path),
        ("apis://192.168.88.1#x", InvalidUrl::Path),
        ("apis://fd00::1", InvalidUrl::Brackets),
        ("apis://[fd00::1", InvalidUrl::Brackets),
        ("apis://[fd00::1]x", InvalidUrl::Host),
        ("apis://[192.168.88.1]", InvalidUrl::Host),
        ("apis://192.168.88", InvalidUrl::Host),
        ("apis://0x7f.1", InvalidUrl::Host),
        ("apis://two words", InvalidUrl::Host),
        ("apis://a..b", InvalidUrl::Host),
        ("apis://192.168.88.1:0", InvalidUrl::Port),
        ("apis://192.168.88.1:65536", InvalidUrl::Port),
        ("apis://192.168.88.1:+80", InvalidUrl::Port),
        ("apis://192.168.88.1:", InvalidUrl::Port),
    ] {
        assert_eq!(parse(given), Err(why), "{given}");
    }
    assert_eq!(parse(&format!("apis://{}", "a".repeat(MAX_URL_BYTES))), Err(InvalidUrl::TooLong));
}

#[test]
fn a_password_in_a_url_is_refused_and_never_repeated() {
    for given in [
        "apis://admin:hunter2@192.168.88.1",
        "apis://admin:hunter2/x@192.168.88.1",
        "apis://admin:hunter2@y@192.168.88.1",
        "apis://admin:@192.168.88.1",
    ] {
        assert_eq!(parse(given), Err(InvalidUrl::Password), "{given}");
    }
    for given in ["apis://admin:hunter2", "apis://admin:x:hunter2", "admin:hunter2@192.168.88.1", "x:hunter2://y"] {
        let shown = parse(given).unwrap_err().to_string();
        assert!(!shown.contains("hunter2"), "{given}: {shown}");
    }
}

#[test]
fn private_is_what_no_stranger_shares() {
    for (address, expected) in [
        ("127.0.0.1", true),
        ("127.255.0.1", true),
        ("10.0.0.1", true),
        ("172.16.0.1", true),
        ("172.31.255.255", true),
        ("172.32.0.0", false),
        ("192.168.255.1", true),
        ("192.169.0.1", false),
        ("169.254.9.9", true),
        ("100.64.0.1", false),
        ("0.0.0.0", false),
        ("8.8.8.8", false),
        ("255.255.255.255", false),
        ("224.0.0.1", false),
        ("::1", true),
        ("::", false),
        ("fe80::1", true),
        ("fec0::1", false),
        ("fd00::1", true),
        ("2001:db8::1", false),
        ("::ffff:8.8.8.8", false),
        ("::ffff:192.168.88.1", true),
        ("64:ff9b::c0a8:5801", false),
        ("2002:c0a8:5801::1", false),
    ] {
        assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
    }
}

#[tokio::test]
async fn plaintext_to_a_public_address_is_refused_before_a_connection_is_tried() {
    let (_listener, mut access) = listen("api").await;
    // Addresses for documentation: were they tried, this would time out.
    for address in ["192.0.2.1", "[2001:db8::1]", "[::ffff:192.0.2.1]", "100.64.0.1"] {
        access.url = format!("api://{address}").parse().unwrap();
        let error = connect(&access).await.unwrap_err();
        assert!(matches!(error, ConnectError::PlaintextRefused { .. }), "{address}: {error:?}");
        assert_eq!(error.class(), FailureClass::Safety);
        assert!(error.hint().unwrap().contains("--allow-plaintext"));
    }
}

#[tokio::test]
async fn plaintext_to_a_public_address_is_tried_when_allowed() {
    let (_listener, mut access) = listen("api").await;
    access.url = "api://192.0.2.1".parse().unwrap();
    access.plaintext = Plaintext::Allow;
    access.deadlines.connect = std::time::Duration::from_millis(50);
    let error = connect(&access).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. } | ConnectError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Unreachable);
}
