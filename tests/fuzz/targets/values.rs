//! Whatever a router says in a row: it is read or refused, and what is read and written again is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sitepeer::domain::{Endpoint, Marker, PublicKey, RouterOsVersion};
use sitepeer::routeros::menu::{
    ADDRESS_LIST, FILTER, IP_ADDRESS, IP_ROUTE, Menu, NAT, PEERS, SERVICE, WIREGUARD, clock_seconds, format_duration,
    parse_duration, parse_prefix,
};
use sitepeer::routeros::target::RouterUrl;

/// With values of every kind.
const MENUS: [&Menu; 8] = [&ADDRESS_LIST, &FILTER, &IP_ADDRESS, &IP_ROUTE, &NAT, &PEERS, &SERVICE, &WIREGUARD];

fn again<T: std::str::FromStr + ToString + PartialEq>(text: &str) {
    let Ok(read) = text.parse::<T>() else { return };
    let written = read.to_string();
    assert!(written.parse::<T>().is_ok_and(|again| again == read), "{written:?} is not {text:?}");
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, other) = input;
    if let Some(duration) = parse_duration(bytes) {
        assert_eq!(parse_duration(format_duration(duration).as_bytes()), Some(duration));
    }
    if let Some(prefix) = parse_prefix(bytes) {
        assert_eq!(parse_prefix(prefix.to_string().as_bytes()), Some(prefix));
    }
    let _ = (clock_seconds(bytes, other, None), clock_seconds(bytes, other, Some(other)));
    for menu in MENUS {
        for field in menu.fields {
            let canonical = field.canonical(Some(bytes));
            assert_eq!(field.canonical(Some(&canonical)), canonical, "{} {}", menu.path, field.name);
        }
    }
    if let Some(marker) = Marker::of_comment(bytes) {
        assert_eq!(Marker::of_comment(marker.to_string().as_bytes()), Some(marker));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    again::<RouterOsVersion>(text);
    again::<Endpoint>(text);
    again::<PublicKey>(text);
    again::<RouterUrl>(text);
});
