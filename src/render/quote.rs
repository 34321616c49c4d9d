//! Strings of the RouterOS console: how a value is written so that it is read back as itself.
//!
//! A string stands in double quotes. Inside, `\` begins an escape, `"` ends the string and `$` puts in
//! the value of a variable or, as `$[…]` and `$(…)`, runs a command; everything else stands for itself.
//! Control characters and bytes outside ASCII are written as `\` and two upper-case hex digits, so that
//! a script survives a terminal, an editor and a mail.
//!
//! `?` is left alone: `\?` was an escape up to 7.1rc2 only and is a syntax error since.
//!
//! *Source*: MikroTik manual, "Scripting", constant escape sequences; order of escapes and the reading
//! of an unescaped `$` as observed by tik4net on 7.21.4 and 7.23.2.

use std::fmt;

/// Returns `bytes` as a console string, quotes included. Nothing becomes `""`.
///
/// ```
/// use sitepeer::render::quote;
/// assert_eq!(quote(b""), r#""""#);
/// assert_eq!(quote(br#"a "$b" \"#), r#""a \"\$b\" \\""#);
/// assert_eq!(quote("é\n".as_bytes()), r#""\C3\A9\0A""#);
/// ```
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push('"');
    for &byte in bytes {
        // Writing into a String cannot fail.
        let _infallible: fmt::Result = escape(&mut quoted, byte);
    }
    quoted.push('"');
    quoted
}

/// Escapes what a template puts between the quotes of a console string.
///
/// Templates write `name="{{ value }}"`; the quotes belong to the template.
#[derive(Debug, Clone, Copy)]
pub struct ConsoleString;

impl askama::filters::Escaper for ConsoleString {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        string.bytes().try_for_each(|byte| escape(&mut dest, byte))
    }
}

/// Writes one byte of a string's inside.
fn escape(dest: &mut impl fmt::Write, byte: u8) -> fmt::Result {
    match byte {
        b'\\' | b'"' | b'$' => {
            dest.write_char('\\')?;
            dest.write_char(char::from(byte))
        }
        b' '..=b'~' => dest.write_char(char::from(byte)),
        _ => write!(dest, "\\{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn every_byte_is_written_as_printable_ascii() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert!(quote(&all).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }

    #[test]
    fn hex_escapes_are_upper_case_and_two_digits() {
        assert_eq!(quote(b"\r\x7f\xff"), r#""\0D\7F\FF""#);
    }

    #[test]
    fn a_question_mark_stands_for_itself() {
        assert_eq!(quote(b"what?"), r#""what?""#);
    }
}
