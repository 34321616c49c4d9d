//! The length before each word: one to five bytes, most significant first.
//!
//! *Source*: MikroTik manual, "API", table of word lengths.

use super::WireError;

/// The longest length prefix, in bytes.
pub const MAX_LENGTH_BYTES: usize = 5;

/// Appends the shortest prefix that holds `length`.
pub fn put_length(out: &mut Vec<u8>, length: u32) {
    let bytes = length.to_be_bytes();
    match length {
        0..=0x7F => out.push(bytes[3]),
        0x80..=0x3FFF => out.extend_from_slice(&[bytes[2] | 0x80, bytes[3]]),
        0x4000..=0x1F_FFFF => out.extend_from_slice(&[bytes[1] | 0xC0, bytes[2], bytes[3]]),
        0x20_0000..=0x0FFF_FFFF => {
            out.extend_from_slice(&[bytes[0] | 0xE0, bytes[1], bytes[2], bytes[3]]);
        }
        _ => {
            out.push(0xF0);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Reads one prefix from the front of `bytes`: the word's length and the prefix's own.
///
/// `Ok(None)` means that the prefix is not all there yet. A prefix longer than it had to be is
/// taken as it stands: nothing in the protocol forbids it.
///
/// # Errors
/// [`WireError::ControlByte`] for a first byte from 0xF8 on (reserved, a client cannot go on) and for
/// 0xF1 to 0xF7, which no length has.
pub fn take_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, WireError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (more, high) = match first {
        0x00..=0x7F => return Ok(Some((u32::from(first), 1))),
        0x80..=0xBF => (1, first & 0x3F),
        0xC0..=0xDF => (2, first & 0x1F),
        0xE0..=0xEF => (3, first & 0x0F),
        0xF0 => (4, 0),
        _ => return Err(WireError::ControlByte(first)),
    };
    let Some(tail) = bytes.get(1..=more) else {
        return Ok(None);
    };
    let length = tail.iter().fold(u32::from(high), |sum, &byte| (sum << 8) | u32::from(byte));
    Ok(Some((length, 1 + more)))
}
