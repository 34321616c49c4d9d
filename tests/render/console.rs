//! A reader of RouterOS console text, written from the manual and sharing nothing with the writer.
//!
//! *Source*: MikroTik manual, "Scripting": line structure, comments, constant escape sequences;
//! what an unescaped `$` does as observed by tik4net on 7.21.4.

/// A piece of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// `#` up to the end of its line.
    Comment,
    /// A string in double quotes, escapes undone.
    Text(Vec<u8>),
    /// Anything that is neither space nor one of the others, up to the next that is.
    Word(String),
    /// One of `{}[]();=`.
    Mark(char),
    /// The end of a line.
    Newline,
}

/// Why a text is no script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// A string has no closing quote.
    Open,
    /// A backslash with something that is no escape behind it.
    Escape(String),
    /// A `$` inside a string: it would put in a variable, or run a command.
    Interpolation,
    /// A byte that the console does not take outside a string, or a bare one inside.
    Byte(u8),
}

/// Reads a whole script.
pub fn tokens(script: &[u8]) -> Result<Vec<Token>, Wrong> {
    let mut rest = script;
    let mut found = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'\n' => push(&mut found, Token::Newline, after),
            b' ' => after,
            b'#' => {
                let end = after.iter().position(|b| *b == b'\n').unwrap_or(after.len());
                if let Some(odd) = after[..end].iter().find(|b| !(b' '..=b'~').contains(*b)) {
                    return Err(Wrong::Byte(*odd));
                }
                push(&mut found, Token::Comment, &after[end..])
            }
            b'"' => {
                let (text, after) = string(after)?;
                push(&mut found, Token::Text(text), after)
            }
            b'{' | b'}' | b'[' | b']' | b'(' | b')' | b';' | b'=' => {
                push(&mut found, Token::Mark(char::from(byte)), after)
            }
            b'!'..=b'~' if byte != b'\\' => {
                let end = rest.iter().position(|b| b" \n\"{}[]();=\\".contains(b)).unwrap_or(rest.len());
                let word = String::from_utf8_lossy(&rest[..end]).into_owned();
                push(&mut found, Token::Word(word), &rest[end..])
            }
            odd => return Err(Wrong::Byte(odd)),
        };
    }
    Ok(found)
}

fn push<'a>(found: &mut Vec<Token>, token: Token, rest: &'a [u8]) -> &'a [u8] {
    found.push(token);
    rest
}

/// Reads a string's inside and its closing quote.
fn string(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), Wrong> {
    let mut text = Vec::new();
    loop {
        match rest {
            [] => return Err(Wrong::Open),
            [b'"', after @ ..] => return Ok((text, after)),
            [b'$', ..] => return Err(Wrong::Interpolation),
            [b'\\', after @ ..] => {
                let (byte, after) = escape(after)?;
                text.push(byte);
                rest = after;
            }
            [byte @ (0..=31 | 127..=255), ..] => return Err(Wrong::Byte(*byte)),
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

/// Reads what stands behind a backslash.
fn escape(rest: &[u8]) -> Result<(u8, &[u8]), Wrong> {
    let byte = match rest {
        [byte @ (b'"' | b'\\' | b'$'), ..] => *byte,
        [b'n', ..] => b'\n',
        [b'r', ..] => b'\r',
        [b't', ..] => b'\t',
        [b'_', ..] => b' ',
        [b'a', ..] => 0x07,
        [b'b', ..] => 0x08,
        [b'f', ..] => 0x0c,
        [b'v', ..] => 0x0b,
        [high, low, after @ ..] => match (upper_hex(*high), upper_hex(*low)) {
            (Some(high), Some(low)) => return Ok((high * 16 + low, after)),
            _ => return Err(Wrong::Escape(String::from_utf8_lossy(&rest[..2]).into_owned())),
        },
        _ => return Err(Wrong::Escape(String::from_utf8_lossy(rest).into_owned())),
    };
    Ok((byte, &rest[1..]))
}

/// Hex digits of the console are upper case: `\0d` is not one.
fn upper_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
