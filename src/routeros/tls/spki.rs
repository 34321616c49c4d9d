//! Finds the public key in a certificate, whatever else is in it.
//!
//! webpki takes X.509 version 3 only, and rightly so where a chain is judged. A pinned certificate is judged by its hash
//! alone, and routers carry version 1 and expired ones; what is still needed is the key, to check that the other end
//! holds it. This module only walks to it and judges nothing.
//!
//! *Source*: RFC 5280, section 4.1; X.690 for the encoding.

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const BIT_STRING: u8 = 0x03;

/// A public key as it stands in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spki<'a> {
    /// The whole `SubjectPublicKeyInfo`.
    pub(super) whole: &'a [u8],
    /// What is in its `AlgorithmIdentifier`.
    pub(super) algorithm: &'a [u8],
    /// The key's bits.
    pub(super) key: &'a [u8],
}

impl<'a> Spki<'a> {
    /// Finds the key in a DER certificate; `None` if it is malformed.
    pub(super) fn of_certificate(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = Element::take(certificate)?;
        let (signed, _) = Element::take(certificate.content_of(SEQUENCE)?)?;
        let mut rest = signed.content_of(SEQUENCE)?;
        let (first, after) = Element::take(rest)?;
        if first.tag == VERSION {
            rest = after;
        }
        // Serial number, signature algorithm, issuer, validity, subject.
        for _ in 0..5 {
            rest = Element::take(rest)?.1;
        }
        let (info, _) = Element::take(rest)?;
        let (algorithm, bits) = Element::take(info.content_of(SEQUENCE)?)?;
        let (bits, _) = Element::take(bits)?;
        let (unused, key) = bits.content_of(BIT_STRING)?.split_first()?;
        (*unused == 0).then_some(Self { whole: info.whole, algorithm: algorithm.content_of(SEQUENCE)?, key })
    }
}

/// One DER element.
#[derive(Debug, Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// Takes the element at the front; the second half is what follows it.
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            // A certificate comes in at most 16 MiB of handshake: three bytes of length are enough.
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                (digits.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = bytes.get(..bytes.len() - rest.len())?;
        Some((Self { tag, content, whole }, rest))
    }

    fn content_of(self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}
