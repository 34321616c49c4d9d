//! Each thing a router may say has one outcome.

use sitepeer::routeros::{
    CallError, Command, Retry,
    error::{Loss, MAX_TRAPS, Nonsense},
};

use crate::fake::{encode, encode_bytes, pair};

/// Asks, and answers with these sentences; `TAG` stands for the tag.
async fn answer(sentences: &[&[&str]]) -> Result<usize, CallError> {
    let (client, mut router) = pair();
    let serve = async {
        let tag = router.tag().await;
        for words in sentences {
            let words: Vec<&str> = words.iter().map(|word| if *word == "TAG" { tag.as_str() } else { word }).collect();
            router.say(&words).await;
        }
        router
    };
    let print = Command::new("/ip/address/print");
    let (reply, _router) = tokio::join!(client.call(&print), serve);
    reply.map(|reply| reply.rows.len())
}

#[tokio::test(start_paused = true)]
async fn a_reply_with_a_tag_never_given_out_ends_the_connection() {
    for tag in [".tag=1", ".tag=4711", ".tag=x", ".tag=00", ".tag=", ".tag=99999999999999999999999"] {
        for word in ["!re", "!done", "!trap", "!empty"] {
            let error = answer(&[&[word, tag]]).await.unwrap_err();
            assert!(matches!(error, CallError::Garbage { what: Nonsense::UnknownTag(_) }), "{word} {tag}: {error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_a_tag_ends_the_connection() {
    for word in ["!re", "!done", "!trap", "!empty", "!new"] {
        let error = answer(&[&[word, "=a=b"]]).await.unwrap_err();
        assert!(matches!(error, CallError::Garbage { what: Nonsense::Untagged(_) }), "{word}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sentence_that_is_no_reply_ends_the_connection() {
    for words in [&["hello"][..], &["=a=b", "TAG"], &["/login", "TAG"]] {
        let error = answer(&[words]).await.unwrap_err();
        assert!(matches!(error, CallError::Garbage { what: Nonsense::NotAReply(_) }), "{words:?}: {error:?}");
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_word_nobody_knows_is_skipped() {
    assert_eq!(answer(&[&["!new", "TAG"], &["!re", "TAG", "=a=b"], &["!done", "TAG"]]).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn empty_sentences_between_rows_mean_nothing() {
    let row = &["!re", "TAG", "=a=b"][..];
    assert_eq!(answer(&[&[], row, &[], &[], row, row, &[], &["!done", "TAG"]]).await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_list_without_done_is_an_error() {
    let (client, mut router) = pair();
    let serve = async move {
        let tag = router.tag().await;
        router.say(&["!re", &tag, "=a=b"]).await;
        router.say(&["!re", &tag, "=a=b"]).await;
        // Closes here.
    };
    let print = Command::new("/ip/address/print");
    let (reply, ()) = tokio::join!(client.call(&print), serve);
    assert!(matches!(reply, Err(CallError::ConnectionLost { how: Loss::Closed })));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_at_any_byte_but_the_last_is_a_lost_connection() {
    let answer = |tag: &str| {
        let mut bytes = encode(&["!re", tag, "=a=b"]);
        let border = bytes.len();
        bytes.extend_from_slice(&encode(&["!done", tag]));
        (bytes, border)
    };
    let length = answer(".tag=0").0.len();
    for cut in 0..=length {
        let (client, mut router) = pair();
        let serve = async move {
            let (bytes, border) = answer(&router.tag().await);
            router.raw(&bytes[..cut]).await;
            border
        };
        let print = Command::new("/ip/address/print");
        let (reply, border) = tokio::join!(client.call(&print), serve);
        match reply {
            Ok(reply) => assert_eq!((cut, reply.rows.len()), (length, 1)),
            Err(CallError::ConnectionLost { how: Loss::Closed }) => assert!(cut == 0 || cut == border, "cut at {cut}"),
            Err(CallError::ConnectionLost { how: Loss::CutShort }) => {
                assert!(cut != 0 && cut != border, "cut at {cut}");
            }
            Err(error) => panic!("cut at {cut}: {error:?}"),
        }
        let after = client.call(&print).await.map(|reply| reply.rows);
        assert!(matches!(after, Err(CallError::ConnectionLost { .. })), "a call after the end: {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fatal_ends_every_call() {
    let (client, mut router) = pair();
    let print = Command::new("/ip/address/print");
    let serve = async {
        router.tag().await;
        router.tag().await;
        router.say(&["!fatal", "too many commands before login"]).await;
    };
    let (one, other, ()) = tokio::join!(client.call(&print), client.call(&print), serve);
    for reply in [one, other, client.call(&print).await] {
        assert!(matches!(reply, Err(CallError::Fatal { message }) if message == "too many commands before login"));
    }
}

#[tokio::test(start_paused = true)]
async fn traps_are_kept_up_to_a_limit_and_counted_beyond() {
    let trap = &["!trap", "TAG", "=message=no"][..];
    let mut sentences = vec![trap; MAX_TRAPS + 5];
    sentences.push(&["!done", "TAG"]);
    let error = answer(&sentences).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.traps.len(), refusal.left_out), (MAX_TRAPS, 5));
}

#[tokio::test(start_paused = true)]
async fn a_routers_words_cannot_write_to_the_terminal() {
    let (client, mut router) = pair();
    let serve = async {
        let tag = router.tag().await;
        let message = b"=message=\x1b[2J\xfforchid\r\n\xe2\x80\xae";
        router.raw(&encode_bytes(&[b"!trap", tag.as_bytes(), message])).await;
        router.say(&["!done", &tag]).await;
        router
    };
    let print = Command::new("/ip/address/print");
    let (reply, _router) = tokio::join!(client.call(&print), serve);
    let shown = reply.unwrap_err().to_string();
    assert_eq!(shown, r"the router refused: \u{1b}[2J\xfforchid\u{d}\u{a}\u{202e}");
}

#[tokio::test(start_paused = true)]
async fn bytes_of_any_charset_pass_unchanged() {
    let (client, mut router) = pair();
    let serve = async {
        let command = router.hear().await.unwrap();
        let comment = command.attr("comment").unwrap().to_vec();
        let tag = [b".tag=", command.tag().unwrap()].concat();
        router.raw(&encode_bytes(&[b"!re", &tag, &[b"=comment=", &comment[..]].concat()])).await;
        router.raw(&encode_bytes(&[b"!done", &tag])).await;
        router
    };
    let windows_1252 = b"K\xf6ln \x96 B\xfcro=\x80";
    let set = Command::new("/x/set").attr("comment", windows_1252);
    let (reply, _router) = tokio::join!(client.call(&set), serve);
    assert_eq!(reply.unwrap().rows[0].get("comment"), Some(&windows_1252[..]));
}
