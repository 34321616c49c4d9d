//! Laws of the codec.

use bytes::BytesMut;
use proptest::prelude::*;
use sitepeer::routeros::codec::{
    Limits, MAX_WORD_BYTES, Scanner, SentenceCodec, WireError, Words, put_length, take_length,
};
use tokio_util::codec::{Decoder, Encoder};

use crate::fake::encode;

/// A length of each form and of its borders, with the bytes the manual gives for it.
const LENGTHS: [(u32, &[u8]); 10] = [
    (0, &[0x00]),
    (0x7F, &[0x7F]),
    (0x80, &[0x80, 0x80]),
    (0x3FFF, &[0xBF, 0xFF]),
    (0x4000, &[0xC0, 0x40, 0x00]),
    (0x1F_FFFF, &[0xDF, 0xFF, 0xFF]),
    (0x20_0000, &[0xE0, 0x20, 0x00, 0x00]),
    (0x0FFF_FFFF, &[0xEF, 0xFF, 0xFF, 0xFF]),
    (0x1000_0000, &[0xF0, 0x10, 0x00, 0x00, 0x00]),
    (u32::MAX, &[0xF0, 0xFF, 0xFF, 0xFF, 0xFF]),
];

#[test]
fn all_five_forms_of_a_length_go_both_ways() {
    for (length, bytes) in LENGTHS {
        let mut put = Vec::new();
        put_length(&mut put, length);
        assert_eq!(put, bytes, "{length:#x}");
        assert_eq!(take_length(bytes).unwrap(), Some((length, bytes.len())));
        for cut in 0..bytes.len() {
            assert_eq!(take_length(&bytes[..cut]).unwrap(), None, "{length:#x} cut at {cut}");
        }
    }
}

#[test]
fn control_bytes_are_refused() {
    for byte in 0xF1..=0xFF {
        assert!(matches!(take_length(&[byte, 0, 0, 0, 0]), Err(WireError::ControlByte(seen)) if seen == byte));
    }
}

#[test]
fn a_word_of_4_gib_is_refused_by_its_header_alone() {
    let mut bytes = BytesMut::from(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF][..]);
    let error = SentenceCodec::default().decode(&mut bytes).unwrap_err();
    assert!(matches!(error, WireError::WordTooLong { length: 0xFFFF_FFFF, limit: MAX_WORD_BYTES }));
    assert!(bytes.capacity() < 1024);
}

#[test]
fn each_limit_is_refused_when_passed_and_not_before() {
    let limits = Limits { word: 4, sentence: 12, words: 2 };
    let decode = |words: &[&str]| {
        let mut bytes = BytesMut::from(&encode(words)[..]);
        SentenceCodec::with_limits(limits).decode(&mut bytes).map(|sentence| sentence.is_some())
    };
    assert!(decode(&["abcd", "abcd"]).unwrap());
    assert!(matches!(decode(&["abcde"]), Err(WireError::WordTooLong { length: 5, limit: 4 })));
    assert!(matches!(decode(&["a", "a", "a"]), Err(WireError::TooManyWords { limit: 2 })));
    let limits = Limits { word: 9, sentence: 12, words: 9 };
    let mut bytes = BytesMut::from(&encode(&["abcdef", "abcdef"])[..]);
    let error = SentenceCodec::with_limits(limits).decode(&mut bytes).unwrap_err();
    assert!(matches!(error, WireError::SentenceTooLong { limit: 12 }));
}

#[test]
fn empty_sentences_are_left_out() {
    let mut bytes = BytesMut::from(&b"\0\0\x05!done\0\0"[..]);
    let mut codec = SentenceCodec::default();
    assert_eq!(codec.decode(&mut bytes).unwrap().unwrap().first(), b"!done");
    assert!(codec.decode_eof(&mut bytes).unwrap().is_none());
    assert!(bytes.is_empty());
}

#[test]
fn a_half_arrived_sentence_is_not_walked_again() {
    let mut bytes = encode(&["!re", "=a=b", "=c=d", ".tag=7"]);
    let mut scanner = Scanner::new(Limits::default());
    let walked = bytes.len() - 4;
    assert_eq!(scanner.scan(&bytes[..walked]).unwrap(), None);
    // Were the walk begun anew, it would fall over these.
    bytes[..9].fill(0xFF);
    let found = scanner.scan(&bytes).unwrap().unwrap();
    assert_eq!((found.length, found.words), (bytes.len(), 4));
    assert_eq!(&bytes[found.tag.unwrap()], b"7");
}

#[test]
fn a_stream_that_ends_in_a_sentence_is_cut_short() {
    let whole = encode(&["!re", "=a=b"]);
    for cut in 1..whole.len() {
        let mut bytes = BytesMut::from(&whole[..cut]);
        assert!(matches!(SentenceCodec::default().decode_eof(&mut bytes), Err(WireError::CutShort)), "cut at {cut}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let words = Words::new("/interface/wireguard/peers/add")
        .attr("preshared-key", "s3cret")
        .attr("private-key", "s3cret")
        .attr("wpa2-pre-shared-key", "s3cret")
        .attr("password", "s3cret")
        .attr("name", "shown");
    assert!(!format!("{words:?}").contains("s3cret"));
    let sentence = words.finish().unwrap();
    let shown = format!("{sentence:?}");
    assert!(!shown.contains("s3cret") && shown.contains("=name=shown") && shown.contains("=password=***"));
}

fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let word = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..40),
        1 => prop::collection::vec(any::<u8>(), 126..131),
        1 => prop::collection::vec(any::<u8>(), 0x3FFE..0x4002),
    ];
    prop::collection::vec(word, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded_under_every_split(
        sentences in prop::collection::vec(words(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut codec = SentenceCodec::default();
        let mut stream = BytesMut::new();
        for words in &sentences {
            let mut built = Words::default();
            for word in words {
                built = built.word(word);
            }
            codec.encode(built, &mut stream).unwrap();
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();

        let (mut source, mut decoded) = (BytesMut::new(), Vec::new());
        for piece in cuts.windows(2) {
            source.extend_from_slice(&stream[piece[0]..piece[1]]);
            while let Some(sentence) = codec.decode(&mut source).unwrap() {
                decoded.push(sentence.words().map(<[u8]>::to_vec).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(decoded, sentences);
        prop_assert!(source.is_empty());
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused_alike_however_they_come(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        chunk in 1_usize..20,
    ) {
        prop_assert_eq!(outcome(&bytes, bytes.len().max(1)), outcome(&bytes, chunk));
    }
}

fn outcome(bytes: &[u8], chunk: usize) -> (Vec<Vec<u8>>, Option<String>) {
    let limits = Limits { word: 64, sentence: 128, words: 8 };
    let (mut codec, mut source, mut decoded) = (SentenceCodec::with_limits(limits), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(chunk) {
        source.extend_from_slice(piece);
        loop {
            match codec.decode(&mut source) {
                Ok(Some(sentence)) => decoded.push(sentence.as_bytes().to_vec()),
                Ok(None) => break,
                Err(error) => return (decoded, Some(error.to_string())),
            }
        }
    }
    (decoded, None)
}
