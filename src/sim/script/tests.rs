//! The language by itself, over a host that only remembers.

use proptest::prelude::*;

use super::parse::{Action, Piece, Value, parse};
use super::*;

/// Knows one row and refuses what it is told to.
#[derive(Default)]
struct Memory {
    done: Vec<String>,
    refuses: Option<&'static str>,
}

impl Host for Memory {
    fn find(&self, menu: &str, matching: &Words) -> Result<Vec<String>, String> {
        let is_known =
            menu == "/ip/route" && matching.iter().all(|(name, value)| name == "comment" && value == b"ours");
        Ok(if is_known { vec!["*1".to_owned(), "*2".to_owned()] } else { Vec::new() })
    }

    fn command(&mut self, menu: &str, verb: &str, rows: Option<&[String]>, args: Words) -> Result<(), String> {
        if self.refuses == Some(verb) {
            return Err("failure: simulated fault".to_owned());
        }
        let rows = rows.map(|rows| rows.join(",")).unwrap_or_default();
        let args: Vec<String> = args.iter().map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
        self.done.push(format!("{menu}/{verb} {rows} {}", args.join(" ")).trim().to_owned());
        Ok(())
    }

    fn say(&mut self, line: String) {
        self.done.push(line);
    }
}

fn done(script: &str, refuses: Option<&'static str>) -> (Vec<String>, Result<(), String>) {
    let mut memory = Memory { refuses, ..Memory::default() };
    let result = run(script.as_bytes(), &mut memory);
    (memory.done, result.map_err(|error| error.to_string()))
}

#[test]
fn an_error_stops_the_script_at_its_line_and_what_was_done_stays() {
    let script = "/ip/route/add dst-address=\"10.0.0.0/8\"\n/ip/route/set *7 distance=2\n/ip/route/remove *1";
    let (lines, result) = done(script, Some("set"));
    assert_eq!(lines, ["/ip/route/add  dst-address=10.0.0.0/8"]);
    assert_eq!(result.unwrap_err(), "failure: simulated fault (line 2)");
}

#[test]
fn on_error_catches_and_the_script_goes_on() {
    let script =
        ":do { /ip/route/set *7 distance=2; /ip/route/add gateway=x } on-error={ :log warning \"no\" }\n:put \"yes\"";
    let (lines, result) = done(script, Some("set"));
    assert_eq!((lines, result), (vec!["no".to_owned(), "yes".to_owned()], Ok(())));
}

#[test]
fn a_script_that_is_not_understood_does_nothing_at_all() {
    for bad in [
        "/ip/route/add x=1\n:foreach i in=$x do={}",
        "/ip/route/add x=\"a",
        "/ip/route/add x=\"\\q\"",
        "ip",
        ":do {",
        "}",
    ] {
        let (lines, result) = done(bad, None);
        assert!(lines.is_empty() && result.unwrap_err().starts_with("syntax error"), "{bad}");
    }
}

#[test]
fn what_is_found_can_be_counted_picked_and_changed() {
    let script = ":local found [/ip/route/find where comment=\"ours\"]\n\
        :if ([:len $found] > 1) do={ /ip/route/set $found distance=2 } else={ :error \"none\" }\n\
        /ip/route/add place-before=[:pick $found 1]\n\
        :if ([:len [/ip/route/find where comment=\"theirs\"]] = 0) do={ :put \"none of theirs\" }";
    let (lines, result) = done(script, None);
    assert_eq!(result, Ok(()));
    assert_eq!(lines, ["/ip/route/set *1,*2 distance=2", "/ip/route/add  place-before=*2", "none of theirs"]);
}

#[test]
fn an_unescaped_dollar_puts_in_nothing_where_there_is_no_such_variable() {
    assert_eq!(done(":local a \"x\"\n:put \"[$a][$b][\\$a]\"", None).0, ["[x][][$a]"]);
}

#[test]
fn blocks_within_blocks_come_to_an_end() {
    assert!(parse(&b":do {".repeat(10_000)).is_err());
    assert!(parse(&[b":put ".as_slice(), &b"[:len ".repeat(10_000)].concat()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn what_is_quoted_is_read_as_itself(bytes: Vec<u8>) {
        // The product's own quoting lives in another layer; every byte as an escape is the plainest of all.
        let quoted: String = bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:02X}"));
        let statements = parse(format!(":put \"{quoted}\"").as_bytes()).unwrap();
        prop_assert_eq!(&statements[0].action, &Action::Say(Value::Text(vec![Piece::Bytes(bytes)])));
    }
}
