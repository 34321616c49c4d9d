//! What real routers said, played back: the client sends what was sent, and makes of the answers what they mean.

use sitepeer::routeros::{CallError, Command, Reply};

use crate::fake::{encode, pair};

#[derive(Default)]
struct Exchange {
    sent: Vec<String>,
    received: Vec<Vec<String>>,
}

/// Reads one exchange of `tests/golden/protocol.txt`.
fn exchange(name: &str) -> Exchange {
    let text = include_str!("../golden/protocol.txt");
    let start = text.find(&format!("== {name} (")).unwrap_or_else(|| panic!("no exchange {name}"));
    let mut read = Exchange::default();
    let mut hearing = false;
    for line in text[start..].lines().skip(1).take_while(|line| !line.starts_with("==")) {
        let word = line.get(3..).unwrap_or_default().replace("\\r\\n", "\r\n");
        match line.get(..2) {
            Some(">>") => (hearing, read.sent) = (false, vec![word]),
            Some("<<") => {
                hearing = true;
                read.received.push(vec![word]);
            }
            Some(_) if hearing => read.received.last_mut().unwrap().push(word),
            Some(_) => read.sent.push(word),
            None => {}
        }
    }
    read
}

/// Plays an exchange with the tag as each reply's second or last word: both have been seen.
async fn play(name: &str) -> Result<Reply, CallError> {
    let mut outcomes = Vec::new();
    for tag_is_last in [false, true] {
        let recorded = exchange(name);
        let mut command = Command::new(&recorded.sent[0]);
        for word in &recorded.sent[1..] {
            command = match word.strip_prefix('=').map(|word| word.split_once('=').unwrap()) {
                Some((key, value)) => command.attr(key, value),
                None => command.query(word),
            };
        }
        let (client, mut router) = pair();
        let serve = async {
            let heard = router.hear().await.unwrap();
            let words: Vec<_> = heard.words().map(|word| String::from_utf8(word.to_vec()).unwrap()).collect();
            let (tag, sent) = words.split_last().unwrap();
            assert_eq!(sent, recorded.sent);
            for words in &recorded.received {
                let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
                let place = if tag_is_last { words.len() } else { 1 };
                if words[0] != "!fatal" {
                    words.insert(place, tag);
                }
                router.raw(&encode(&words)).await;
            }
        };
        let (outcome, ()) = tokio::join!(client.call(&command), serve);
        outcomes.push(outcome);
    }
    assert_eq!(format!("{:?}", outcomes[0].as_ref().err()), format!("{:?}", outcomes[1].as_ref().err()));
    outcomes.pop().unwrap()
}

fn traps(outcome: Result<Reply, CallError>) -> Vec<(Option<u8>, String)> {
    let error = outcome.unwrap_err();
    error.refusal().expect("a refusal").traps.iter().map(|trap| (trap.category, trap.message.clone())).collect()
}

#[tokio::test]
async fn add_returns_the_id() {
    let reply = play("add returns the id").await.unwrap();
    assert_eq!(reply.done.ret.as_deref(), Some(&b"*3"[..]));
}

#[tokio::test]
async fn a_trap_needs_no_category() {
    assert_eq!(traps(play("added twice").await), [(None, "failure: already have such address".into())]);
    let wrong = play("wrong password from 6.43 on").await;
    assert_eq!(traps(wrong), [(None, "invalid user name or password (6)".into())]);
}

#[tokio::test]
async fn a_trap_may_have_a_category() {
    let message = "input does not match any value of interface".into();
    assert_eq!(traps(play("a reference to nothing").await), [(Some(1), message)]);
}

#[tokio::test]
async fn all_traps_before_done_are_kept() {
    let expected = [(Some(2), "interrupted".into()), (None, "failure: 301 Moved Permanently".into())];
    assert_eq!(traps(play("two traps of one command, as a cancelled fetch has them").await), expected);
}

#[tokio::test]
async fn fatal_has_a_bare_word() {
    let error = play("quit").await.unwrap_err();
    assert!(matches!(error, CallError::Fatal { message } if message == "session terminated on request"));
}

#[tokio::test]
async fn no_rows_are_no_rows_with_and_without_the_reply_word_for_it() {
    assert_eq!(play("no rows, from 7.18 on").await.unwrap(), Reply::default());
    assert_eq!(play("login from 6.43 on").await.unwrap(), Reply::default());
}

#[tokio::test]
async fn rows_without_any_field_are_rows() {
    assert_eq!(play("a field that no row has, before 7.18").await.unwrap().rows.len(), 2);
}

#[tokio::test]
async fn fields_are_read_from_rows() {
    let rows = play("a change and a removal as listen tells them").await.unwrap().rows;
    assert_eq!(rows[0].get("interface"), Some(&b"br-lan"[..]));
    assert_eq!(rows[0].get("inter"), None);
    assert_eq!(rows[0].get(".dead"), None);
    assert_eq!(rows[1].text(".dead").as_deref(), Some("true"));
    assert_eq!(rows[0].iter().count(), 8);
}

#[tokio::test]
async fn output_of_a_script_keeps_its_line_ends() {
    assert_eq!(play("output of a script").await.unwrap().done.ret.as_deref(), Some(&b"hello\r\n"[..]));
}
