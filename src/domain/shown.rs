//! Text from outside, made fit to be shown: bounded, with control characters and bytes that are not UTF-8 escaped, so that a hostile
//! router or hub cannot write to a terminal or fill a log.

/// The most characters of somebody else's words that are kept and shown.
pub const MAX_SHOWN_CHARS: usize = 300;

/// Makes text from outside fit to be shown: escaped and at most [`MAX_SHOWN_CHARS`] characters.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut left = MAX_SHOWN_CHARS;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if left == 0 {
                text.push('…');
                return text;
            }
            left -= 1;
            if is_unsafe_to_show(character) { text.extend(character.escape_unicode()) } else { text.push(character) }
        }
        if !chunk.invalid().is_empty() {
            left = left.saturating_sub(1);
            text.push_str(&chunk.invalid().escape_ascii().to_string());
        }
    }
    text
}

/// Control characters, and those that reorder or hide the text around them.
fn is_unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}
