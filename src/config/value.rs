//! From a string with its place to a word of the domain.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::domain::{not_a_host, unroutable, unroutable_prefix};

use super::document::Field;
use super::error::ConfigError;

/// Parses a word whose own error says what is wrong.
pub(super) fn word<T>(field: &Field<'_, &str>) -> Result<T, ConfigError>
where
    T: FromStr<Err: Display>,
{
    field.value.parse().map_err(|error: T::Err| field.wrong(error, None))
}

/// Parses an address without a prefix length.
pub(super) fn address(field: &Field<'_, &str>) -> Result<IpAddr, ConfigError> {
    field.value.parse().map_err(|_| {
        let bare = field.value.split('/').next().unwrap_or("");
        let hint = bare.parse::<IpAddr>().ok().map(|address| format!("without the length: {address}"));
        field.wrong(format_args!("{:?} is not an IP address", field.value), hint)
    })
}

/// Parses a network: host bits zero, and one that can be routed.
pub(super) fn network(field: &Field<'_, &str>) -> Result<IpNet, ConfigError> {
    let net = prefix(field)?;
    if net != net.trunc() {
        let problem = format!("{net} has host bits set");
        return Err(field.wrong(problem, Some(format!("did you mean {}?", net.trunc()))));
    }
    match unroutable_prefix(net) {
        Some(kind) => Err(field.wrong(format_args!("{net} is {kind}: it cannot be routed"), None)),
        None => Ok(net),
    }
}

/// Parses a host's address with the length of its network.
pub(super) fn interface_address(field: &Field<'_, &str>) -> Result<IpNet, ConfigError> {
    let net = prefix(field)?;
    if let Some(kind) = unroutable(net.addr()) {
        return Err(field.wrong(format_args!("{net} is {kind}: no tunnel address"), None));
    }
    match not_a_host(net) {
        Some(what) => {
            let hint = "write the router's own address with the network's length, such as 10.99.0.2/24".to_owned();
            Err(field.wrong(format_args!("{net} is {what}, not a router's address"), Some(hint)))
        }
        None => Ok(net),
    }
}

fn prefix(field: &Field<'_, &str>) -> Result<IpNet, ConfigError> {
    field.value.parse().map_err(|_| {
        let hint = match field.value.parse::<IpAddr>() {
            Ok(address) => format!("the length is missing: {}", IpNet::from(address)),
            Err(_) => "write address/length, such as 192.168.88.0/24 or fd00:88::/64".to_owned(),
        };
        field.wrong(format_args!("{:?} is not an IP prefix", field.value), Some(hint))
    })
}
