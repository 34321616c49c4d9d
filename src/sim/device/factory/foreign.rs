//! Rows of others on the same router: what a site peer must never touch.

use super::super::Device;
use super::super::rows::{Fields, Origin};
use crate::sim::faults::{ClockJump, Fault};

/// "Büro – Zürich" as WinBox on a western Windows writes it.
const WINDOWS_1252_COMMENT: &[u8] = b"B\xFCro \x96 Z\xFCrich";

/// The private key of the foreign interface: fixed, so that two starts are alike. No tunnel uses it.
const FOREIGN_PRIVATE_KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const FOREIGN_PEER_KEY: &str = "o0AsvYkJkVMnIHI0yb2Nbm1bQ0T8GAmUQKDUmoBhoW0=";

pub(super) fn fill(device: &mut Device) {
    if device.options.foreign {
        wireguard(device);
        routes(device);
    }
    for fault in device.options.faults.clone() {
        device.take_fault(fault);
    }
    if device.options.non_utf8_comment {
        non_utf8_comment(device);
    }
    many_entries(device, device.options.foreign_rows);
}

impl Device {
    /// Puts into the rows or the clock what a fault changes there; other faults change nothing here.
    pub(crate) fn take_fault(&mut self, fault: Fault) {
        match fault {
            Fault::LogRows(count) => self.fill_log(count),
            Fault::ForeignRows(count) => many_entries(self, count),
            Fault::NonUtf8Comment => non_utf8_comment(self),
            Fault::ClockJump(ClockJump::Epoch) => self.clock.jump_to_epoch(),
            Fault::ClockJump(ClockJump::By(seconds)) => self.clock.jump(seconds),
            _ => {}
        }
    }
}

fn wireguard(device: &mut Device) {
    if device.schema.menu("/interface/wireguard").is_none() {
        return;
    }
    device.put(
        "/interface",
        &[
            ("name", "wg-office"),
            ("type", "wg"),
            ("mtu", "1420"),
            ("listen-port", "51820"),
            ("private-key", FOREIGN_PRIVATE_KEY),
            ("comment", "office VPN, ask Karl"),
        ],
    );
    let mut peer = Fields::of(&[
        ("interface", "wg-office"),
        ("public-key", FOREIGN_PEER_KEY),
        ("endpoint-address", "office.example.net"),
        ("endpoint-port", "51820"),
        ("allowed-address", "172.16.50.0/24"),
        ("persistent-keepalive", "25s"),
        ("comment", "office"),
    ]);
    if device.schema.menu("/interface/wireguard/peers").is_some_and(|menu| menu.writes("name")) {
        peer.set("name", "peer1");
    }
    device.table_mut("/interface/wireguard/peers").insert(None, peer, Origin::Configured);
    let address = [("address", "172.16.50.2/24"), ("network", "172.16.50.0"), ("interface", "wg-office")];
    device.put("/ip/address", &address);
}

fn routes(device: &mut Device) {
    let gateway = device.options.lan.hosts().last().map(|host| host.to_string()).unwrap_or_default();
    for (destination, comment) in [("10.200.0.0/16", "printers behind the old router"), ("192.0.2.0/24", "")] {
        let mut fields = Fields::of(&[
            ("dst-address", destination),
            ("routing-table", "main"),
            ("gateway", &gateway),
            ("distance", "1"),
            ("scope", "30"),
            ("target-scope", "10"),
        ]);
        if !comment.is_empty() {
            fields.set("comment", comment);
        }
        device.table_mut("/ip/route").insert(None, fields, Origin::Configured);
    }
}

fn non_utf8_comment(device: &mut Device) {
    let mut fields = Fields::of(&[("list", "offices"), ("address", "198.51.100.77")]);
    fields.set("creation-time", device.clock.stamp());
    fields.set("comment", WINDOWS_1252_COMMENT);
    device.table_mut("/ip/firewall/address-list").insert(None, fields, Origin::Configured);
}

fn many_entries(device: &mut Device, count: usize) {
    let stamp = device.clock.stamp();
    for number in 0..count {
        let [_, a, b, c] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        let address = format!("11.{a}.{b}.{c}");
        let pairs = [("list", "blocklist"), ("address", address.as_str()), ("creation-time", &stamp)];
        device.table_mut("/ip/firewall/address-list").insert(None, Fields::of(&pairs), Origin::Configured);
    }
}
