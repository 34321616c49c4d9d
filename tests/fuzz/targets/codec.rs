//! Whatever the bytes and however they come in: the codec decodes or refuses them alike, takes no more than its limits, and
//! what it decodes encodes to the same bytes if their lengths were in the shortest form.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sitepeer::routeros::{
    Row,
    codec::{Limits, Sentence, SentenceCodec, Words},
};
use tokio_util::codec::Decoder;

const LIMITS: Limits = Limits { word: 1 << 10, sentence: 1 << 12, words: 32 };

fn decode(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> (Vec<Sentence>, Option<String>) {
    let (mut codec, mut source, mut decoded) = (SentenceCodec::with_limits(LIMITS), BytesMut::new(), Vec::new());
    for piece in pieces {
        source.extend_from_slice(piece.as_ref());
        loop {
            match codec.decode(&mut source) {
                Ok(Some(sentence)) => decoded.push(sentence),
                Ok(None) => break,
                Err(error) => return (decoded, Some(error.to_string())),
            }
        }
        assert!(source.len() <= LIMITS.sentence + 5);
    }
    (decoded, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, bytes) = input;
    let slow = decode(bytes.chunks(usize::from(chunk).max(1)));
    // In pieces that keep below the limit, or the assertion above would speak of the piece.
    assert_eq!(decode(bytes.chunks(1 << 10)), slow);

    for sentence in slow.0 {
        let words: Vec<&[u8]> = sentence.words().collect();
        assert!(!words.is_empty() && words.len() <= LIMITS.words);
        let again = words.iter().fold(Words::default(), |built, word| built.word(word));
        let again = again.finish().expect("what was decoded can be encoded");
        assert_eq!(again.words().collect::<Vec<_>>(), words);
        assert!(again.as_bytes().len() <= sentence.as_bytes().len());

        let row = Row::from(sentence.clone());
        assert_eq!(row.iter().collect::<Vec<_>>(), sentence.attrs().collect::<Vec<_>>());
        for (key, _) in row.iter() {
            if let Ok(key) = std::str::from_utf8(key) {
                assert_eq!(row.get(key), sentence.attr(key));
            }
        }
        let _ = (format!("{sentence:?}"), sentence.tag(), sentence.first());
    }
});
