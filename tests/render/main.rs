//! Scripts for a router: what is written is read back as itself, and nothing breaks out of its string.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

mod console;

use console::{Token, Wrong, tokens};
use proptest::prelude::*;
use sitepeer::domain::Secret;
use sitepeer::render::{PlaceBefore, Script, ScriptCommand, Value, quote, script};

/// A script with every kind of place for a value, each filled with the next of `values`.
fn sample(values: [&str; 6]) -> String {
    let [header, title, name, key, comment, done] = values;
    let input = Script {
        header: vec!["sitepeer 0.1.0".into(), header.into()],
        commands: vec![
            ScriptCommand {
                title: title.into(),
                path: "/interface/wireguard".into(),
                verb: "add".into(),
                args: vec![
                    ("name".into(), Value::from(name)),
                    ("preshared-key".into(), Value::Secret(Secret::new(key.into()))),
                ],
                place_before: None,
            },
            ScriptCommand {
                title: "accept what the hub sends".into(),
                path: "/ip/firewall/filter".into(),
                verb: "add".into(),
                args: vec![("chain".into(), Value::from("input")), ("comment".into(), Value::from(comment))],
                place_before: Some(PlaceBefore {
                    matching: vec![
                        ("chain".into(), "input".into()),
                        ("disabled".into(), "no".into()),
                        ("action".into(), name.into()),
                    ],
                }),
            },
        ],
        done: done.into(),
    };
    script(&input).expect("all words are plain")
}

/// The strings of a script, and everything else of it.
fn parts(text: &str) -> Result<(Vec<Vec<u8>>, Vec<Token>), Wrong> {
    let mut strings = Vec::new();
    let mut frame = Vec::new();
    for token in tokens(text.as_bytes())? {
        match token {
            Token::Text(text) => {
                strings.push(text);
                frame.push(Token::Text(Vec::new()));
            }
            other => frame.push(other),
        }
    }
    Ok((strings, frame))
}

#[test]
fn a_script_names_the_step_that_failed() {
    insta::assert_snapshot!(sample([
        "site acme (k3f9q2)",
        "the tunnel's interface",
        "sitepeer-acme",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "sitepeer:k3f9q2:input",
        "sitepeer: done",
    ]));
}

#[test]
fn the_reader_refuses_what_a_router_would_refuse_or_run() {
    for (text, wrong) in [
        (r#""abc"#, Wrong::Open),
        (r#""a\""#, Wrong::Open),
        (r#""$x""#, Wrong::Interpolation),
        (r#""$[/system/reboot]""#, Wrong::Interpolation),
        (r#""\0d""#, Wrong::Escape("0d".into())),
        (r#""\?""#, Wrong::Escape("?\"".into())),
        ("\"a\nb\"", Wrong::Byte(b'\n')),
    ] {
        assert_eq!(tokens(text.as_bytes()), Err(wrong), "{text}");
    }
}

proptest! {
    #[test]
    fn a_quoted_string_is_read_back_as_itself(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(tokens(quote(&bytes).as_bytes()), Ok(vec![Token::Text(bytes)]));
    }

    #[test]
    fn no_name_comment_key_or_title_breaks_out_of_its_place(
        values in prop::array::uniform6("(\\PC|[\\\\\"$\\[\\]{};#\\n\\r\\t\\x00 ]){0,12}")
    ) {
        let [_, title, name, key, comment, done] = values.each_ref();
        let (strings, frame) = parts(&sample(values.each_ref().map(String::as_str)))
            .map_err(|wrong| TestCaseError::fail(format!("{wrong:?}")))?;
        let (_, harmless) = parts(&sample(["a"; 6])).map_err(|wrong| TestCaseError::fail(format!("{wrong:?}")))?;
        prop_assert_eq!(frame, harmless, "the script has another structure");
        let failed = format!("sitepeer: step 1 of 2 failed: {title}");
        let failed_next = "sitepeer: step 2 of 2 failed: accept what the hub sends".to_owned();
        let input = "input".to_owned();
        let expected = [name, key, &failed, &input, name, &input, comment, &input, comment, &failed_next, done];
        prop_assert_eq!(strings, expected.map(|text| text.clone().into_bytes()));
    }
}
