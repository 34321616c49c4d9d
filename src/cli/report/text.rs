//! Text that may come from a router, fit for a terminal.

/// Replaces control characters: a router's words must not move the cursor, change colours or begin a line.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_router_s_words_cannot_begin_a_line_or_colour_it() {
        assert_eq!(super::clean("x\nerror: y\u{1b}[31m\u{9b}"), "x\u{fffd}error: y\u{fffd}[31m\u{fffd}");
    }
}
