//! The simulator's reader of scripts: any bytes are read or refused, and what the product quotes is read as itself.

#![no_main]

#[path = "../../../src/sim/script/parse.rs"]
mod parse;

use libfuzzer_sys::fuzz_target;
use parse::{Action, Piece, Value, parse};
use sitepeer::render::quote;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = parse::parse(bytes) {
        assert!(error.line >= 1 && error.column >= 1);
    }
    let line = format!(":do {{ :put {} }} on-error={{}}", quote(bytes));
    let statements = parse(line.as_bytes()).expect("a line of ours is read");
    let [statement] = &statements[..] else { panic!("one statement") };
    let Action::Do(body, Some(otherwise)) = &statement.action else { panic!("a block") };
    let [put] = &body[..] else { panic!("one command") };
    assert_eq!(put.action, Action::Say(Value::Text(vec![Piece::Bytes(bytes.to_vec())])));
    assert!(otherwise.is_empty());
});
