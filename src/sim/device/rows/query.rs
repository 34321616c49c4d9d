//! API queries: words that push and combine truths on a stack.
//!
//! *Source*: manual, API, "Queries"; tik4net findings §13.2 for `?name` and `?name=`.

use std::cmp::Ordering;

/// What a row answers to `?` words.
pub(crate) trait Answers {
    fn value(&self, name: &str) -> Option<&[u8]>;
}

/// Tells whether a row passes all query words; each comes without its `?`.
pub(crate) fn passes(row: &impl Answers, words: &[Vec<u8>]) -> bool {
    let mut stack: Vec<bool> = Vec::new();
    for word in words {
        match word.split_first() {
            Some((b'#', operations)) => operate(&mut stack, operations),
            Some((b'-', name)) => stack.push(row.value(&lossy(name)).is_none()),
            Some((b'<', rest)) => stack.push(compares(row, rest, Ordering::Less)),
            Some((b'>', rest)) => stack.push(compares(row, rest, Ordering::Greater)),
            Some((b'=', rest)) => stack.push(equals(row, rest)),
            Some(_) => stack.push(equals(row, word)),
            None => {}
        }
    }
    stack.into_iter().all(|truth| truth)
}

/// `name=x` is equal, `name` alone is "has a value".
fn equals(row: &impl Answers, rest: &[u8]) -> bool {
    match split(rest) {
        (name, Some(value)) => row.value(&name).unwrap_or_default() == value,
        (name, None) => row.value(&name).is_some(),
    }
}

fn compares(row: &impl Answers, rest: &[u8], wanted: Ordering) -> bool {
    let (name, Some(value)) = split(rest) else { return false };
    row.value(&name).is_some_and(|own| order(own, value) == wanted)
}

fn order(a: &[u8], b: &[u8]) -> Ordering {
    let number = |v: &[u8]| std::str::from_utf8(v).ok().and_then(|t| t.parse::<i128>().ok());
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

fn split(rest: &[u8]) -> (String, Option<&[u8]>) {
    match rest.iter().position(|b| *b == b'=') {
        Some(at) => (lossy(rest.get(..at).unwrap_or_default()), rest.get(at + 1..)),
        None => (lossy(rest), None),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `!` negates the top, `&` and `|` combine the two topmost, a number pushes a copy of that place, `.` does nothing.
fn operate(stack: &mut Vec<bool>, operations: &[u8]) {
    let mut digits = String::new();
    for byte in operations.iter().chain(b".") {
        if byte.is_ascii_digit() {
            digits.push(char::from(*byte));
            continue;
        }
        if let Ok(place) = digits.parse::<usize>() {
            // Places count from the top of the stack.
            let copied = stack.len().checked_sub(place + 1).and_then(|at| stack.get(at)).copied();
            stack.extend(copied);
        }
        digits.clear();
        match byte {
            b'!' => {
                if let Some(top) = stack.last_mut() {
                    *top = !*top;
                }
            }
            b'&' | b'|' => {
                if let (Some(a), Some(b)) = (stack.pop(), stack.pop()) {
                    stack.push(if *byte == b'&' { a && b } else { a || b });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pairs(&'static [(&'static str, &'static str)]);

    impl Answers for Pairs {
        fn value(&self, name: &str) -> Option<&[u8]> {
            self.0.iter().find(|(k, _)| *k == name).map(|(_, v)| v.as_bytes())
        }
    }

    fn ask(words: &[&str]) -> bool {
        let row = Pairs(&[("name", "ether1"), ("mtu", "1500"), ("comment", ""), ("running", "true")]);
        passes(&row, &words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn the_words_of_a_query_are_anded_unless_operated_on() {
        assert!(ask(&["name=ether1", "running=true"]));
        assert!(!ask(&["name=ether1", "running=false"]));
        assert!(ask(&["name=ether1", "running=false", "#|"]));
        assert!(!ask(&["name=ether1", "#!"]));
        assert!(ask(&["name=x", "name=ether1", "running=true", "#|&!", "#!"]) == ask(&["name=x", "#!", "#!"]));
        assert!(ask(&["=name=ether1", "mtu=9", "#!&"]));
    }

    #[test]
    fn a_bare_name_asks_for_a_value_and_an_equals_sign_for_an_empty_one() {
        assert!(ask(&["mtu"]) && !ask(&["-mtu"]) && ask(&["-absent"]) && !ask(&["absent"]));
        assert!(ask(&["comment="]) && ask(&["absent="]) && !ask(&["mtu="]));
    }

    #[test]
    fn greater_and_less_are_strict_and_count_numbers_as_numbers() {
        assert!(ask(&[">mtu=200"]) && ask(&["<mtu=9000"]) && !ask(&[">mtu=1500"]) && !ask(&["<mtu=1500"]));
    }
}
