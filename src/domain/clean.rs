//! Text that may come from a router, fit for a terminal: every character stays one.

/// Replaces control characters: a router's words must not move the cursor, change colours, begin a line, turn the direction
/// of reading or hide.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c }).collect()
}

/// Characters without a shape that change how others look: joiners, marks and overrides of direction, line separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_router_s_words_cannot_begin_a_line_or_colour_it() {
        assert_eq!(super::clean("a\u{202e}b\u{200b}\u{2028}"), "a\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(super::clean("x\nerror: y\u{1b}[31m\u{9b}"), "x\u{fffd}error: y\u{fffd}[31m\u{fffd}");
    }
}
