//! WireGuard of the kernel by generic netlink, in the namespace of the calling thread.
//!
//! Only what is named is changed: peers are never replaced as a whole. A list of peers comes in many datagrams and is complete only
//! with its end marker.

use std::io;

use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlMessage};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};
use rtnetlink::packet_core::{
    DecodeError, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{Socket, SocketAddr};

/// The kernel announces that a list changed while it was read (`NLM_F_DUMP_INTR`): the flag's bit.
const INTERRUPTED: u16 = 16;

/// What a request brought.
pub(super) enum Reply {
    /// All of it.
    Complete(Vec<Vec<WireguardAttribute>>),
    /// The device changed while it was read: ask again.
    Interrupted,
}

/// Changes what the attributes name.
pub(super) fn change(attributes: Vec<WireguardAttribute>) -> io::Result<()> {
    let message = WireguardMessage { cmd: WireguardCmd::SetDevice, attributes };
    ask(family()?, message, NLM_F_REQUEST | NLM_F_ACK).map(drop)
}

/// Reads a device.
pub(super) fn read(name: &str) -> io::Result<Reply> {
    let attributes = vec![WireguardAttribute::IfName(name.to_owned())];
    let message = WireguardMessage { cmd: WireguardCmd::GetDevice, attributes };
    let (parts, interrupted) = ask(family()?, message, NLM_F_REQUEST | NLM_F_DUMP)?;
    if interrupted {
        return Ok(Reply::Interrupted);
    }
    Ok(Reply::Complete(parts.into_iter().map(|part| part.attributes).collect()))
}

/// The number of the family `wireguard`.
fn family() -> io::Result<u16> {
    let name = GenlCtrlAttrs::FamilyName(WireguardMessage::family_name().to_owned());
    let message = GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![name] };
    let (parts, _) = ask(0, message, NLM_F_REQUEST | NLM_F_ACK)?;
    let number = parts.into_iter().flat_map(|part| part.nlas).find_map(|attribute| match attribute {
        GenlCtrlAttrs::FamilyId(id) => Some(id),
        _ => None,
    });
    number.ok_or_else(|| io::Error::other("the kernel did not name the family wireguard"))
}

/// Sends one request and reads until its end: an acknowledgement, an error, or the end marker of a list. The kernel answers within
/// the call that sends, so nothing here waits for anybody else.
fn ask<F>(family: u16, payload: F, flags: u16) -> io::Result<(Vec<F>, bool)>
where
    F: GenlFamily + Emitable + std::fmt::Debug,
    GenlMessage<F>: NetlinkSerializable + NetlinkDeserializable<Error = DecodeError>,
{
    let mut message = GenlMessage::from_payload(payload);
    message.set_resolved_family_id(family);
    let mut request = NetlinkMessage::from(message);
    request.header.flags = flags;
    request.finalize();
    let mut buffer = vec![0; request.buffer_len()];
    request.serialize(&mut buffer);
    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    if socket.send(&buffer, 0)? != buffer.len() {
        return Err(io::Error::other("a netlink request was sent in part"));
    }
    // It may have held a key.
    zeroize::Zeroize::zeroize(&mut buffer);
    let mut found = Vec::new();
    let mut interrupted = false;
    loop {
        // As long as the datagram is: none is cut short.
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let part = NetlinkMessage::<GenlMessage<F>>::deserialize(rest).map_err(io::Error::other)?;
            interrupted |= part.header.flags & INTERRUPTED != 0;
            // Messages begin at multiples of four.
            let length = (part.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match part.payload {
                NetlinkPayload::InnerMessage(message) => found.push(message.payload),
                NetlinkPayload::Done(_) => return Ok((found, interrupted)),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok((found, interrupted)),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Overrun(_) => return Err(io::Error::other("the kernel dropped parts of its reply")),
                _ => {}
            }
            if length == 0 {
                return Err(io::Error::other("a netlink message without length"));
            }
        }
    }
}
