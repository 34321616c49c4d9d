//! Whatever bytes a value has, the console reads them back, and nothing else.

#![no_main]

#[path = "../../render/console.rs"]
mod console;

use console::{Token, tokens};
use libfuzzer_sys::fuzz_target;
use sitepeer::render::{Script, ScriptCommand, Value, quote, script};

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(tokens(quote(bytes).as_bytes()), Ok(vec![Token::Text(bytes.to_vec())]));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let with = |text: &str| {
        let command = ScriptCommand {
            title: text.to_owned(),
            path: "/ip/address".to_owned(),
            verb: "add".to_owned(),
            args: vec![("comment".to_owned(), Value::from(text))],
            place_before: None,
        };
        let input = Script { header: vec![text.to_owned()], commands: vec![command], done: text.to_owned() };
        let script = script(&input).expect("all words are plain");
        let mut frame = tokens(script.as_bytes()).expect("a script that is read");
        for token in &mut frame {
            if let Token::Text(inside) = token {
                inside.clear();
            }
        }
        frame
    };
    assert_eq!(with(text), with("a"), "the script has another structure");
});
