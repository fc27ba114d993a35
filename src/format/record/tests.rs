//! Golden bytes of each kind of record, and that nothing else is taken for one.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::{
    END_LENGTH, MIN_LENGTH, Payload, Record, RecordFault, RecordKind, cancel, decode, encode, encoded_length,
    fill, mark_length, reseal,
};
use crate::format::checksum::RecordSeed;
use crate::format::store_id::StoreId;
use crate::ids::{HeadId, Lsn, PageId, SegmentId, Version};

const STABLE: [Lsn; HeadId::COUNT] = [Lsn(0x0102_0304), Lsn(5), Lsn(0), Lsn(0)];

fn seed() -> u32 {
    RecordSeed::new(StoreId(*b"0123456789abcdef")).at(SegmentId(9), 80)
}

fn encoded(kind: &RecordKind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xEE; encoded_length(kind, payload.len())];
    encode(&mut bytes, seed(), kind, Payload::plain(payload));
    bytes
}

/// One of each kind, with the bytes behind the checksum.
fn golden() -> Vec<(RecordKind, &'static [u8], Vec<u8>)> {
    let (page_id, version) = (PageId(300), Version(5));
    let mut mark = vec![7, 20, 0x78, 0x56, 0x34, 0x12, 4, 3, 2, 1, 0, 0, 0, 0];
    mark.extend([5, 0, 0, 0, 0, 0, 0, 0]);
    vec![
        (
            RecordKind::Replace { page_id, version, age: 4 },
            b"page",
            vec![1, 8, 0xAC, 2, 5, 4, b'p', b'a', b'g', b'e'],
        ),
        (RecordKind::Link { page_id, version }, b"up", vec![2, 5, 0xAC, 2, 5, b'u', b'p']),
        (RecordKind::Free { page_id, version, age: 5 }, b"", vec![3, 4, 0xAC, 2, 5, 5]),
        (RecordKind::Entry, b"\0\xFF", vec![4, 2, 0, 0xFF]),
        (RecordKind::BatchBegin, b"", vec![5, 0]),
        (RecordKind::BatchEnd { begin: Lsn(0x0A0B) }, b"", vec![6, 8, 0x0B, 0x0A, 0, 0, 0, 0, 0, 0]),
        (RecordKind::Mark { end: 0x1234_5678, stable: STABLE, heads: 2 }, b"", mark),
        (RecordKind::Cancelled, b"", vec![8, 0]),
        (RecordKind::End, b"", vec![9, 0]),
    ]
}

#[test]
fn golden_bytes_of_every_kind() {
    for (kind, payload, expected) in golden() {
        let bytes = encoded(&kind, payload);
        assert_eq!(bytes[4..], expected, "{kind:?}");
        assert_eq!(
            decode(&bytes, seed()),
            Ok(Record { kind, payload: Payload::plain(payload), length: bytes.len() })
        );
    }
    for heads in 1..=4 {
        let mark = RecordKind::Mark { end: 0, stable: STABLE, heads };
        assert_eq!(encoded(&mark, b"").len(), mark_length(heads));
    }
    assert_eq!(encoded(&RecordKind::End, b"").len(), END_LENGTH);
}

#[test]
fn a_compressed_payload_is_a_flag_in_the_tag_of_pages_and_links_only() {
    for (kind, payload, expected) in golden() {
        let mut bytes = encoded(&kind, payload);
        bytes[4] |= 0x10;
        reseal(&mut bytes, seed());
        if matches!(kind, RecordKind::Replace { .. } | RecordKind::Link { .. }) {
            let mut written = vec![0; bytes.len()];
            encode(&mut written, seed(), &kind, Payload::compressed(payload));
            assert_eq!((&written, &written[5..]), (&bytes, &expected[1..]));
            let payload = Payload::compressed(payload);
            assert_eq!(decode(&bytes, seed()), Ok(Record { kind, payload, length: bytes.len() }));
        } else {
            assert!(matches!(decode(&bytes, seed()), Err(RecordFault::Invalid(_))), "{kind:?}");
        }
        bytes[4] ^= 0x50;
        reseal(&mut bytes, seed());
        assert!(matches!(decode(&bytes, seed()), Err(RecordFault::Invalid(_))), "{kind:?}");
    }
}

#[test]
fn golden_checksums() {
    // Computed by another implementation: zlib.
    let sums: Vec<u32> = golden()
        .iter()
        .map(|(kind, payload, _)| {
            let bytes = encoded(kind, payload);
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        })
        .collect();
    assert_eq!(
        sums,
        [
            0x4D50_C2FF,
            0x3B37_4DBE,
            0xF03E_8D5F,
            0x4D92_218B,
            0xBDA0_1E77,
            0xACE8_273B,
            0x2837_573C,
            0x080E_603A,
            0x1115_517B
        ]
    );
}

#[test]
fn the_example_in_the_documentation_is_a_record() {
    let document: String = include_str!("../../docs/format.md").split_whitespace().collect();
    let (kind, payload, _) = &golden()[1];
    let example: String = encoded(kind, payload).iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(document.contains(&example), "{example}");
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (kind, payload, _) in golden() {
        let good = encoded(&kind, payload);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad.extend([0; 64]);
            assert!(decode(&bad, seed()).is_err(), "{kind:?}, bit {bit}");
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    for (kind, payload, _) in golden() {
        let bytes = encoded(&kind, payload);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], seed()).is_err(), "{kind:?} cut to {length}");
        }
    }
}

#[test]
fn a_record_verifies_at_no_other_place() {
    let bytes = encoded(&RecordKind::Entry, b"where am I");
    let store = RecordSeed::new(StoreId(*b"0123456789abcdef"));
    for (segment, offset) in [(8, 80), (10, 80), (9, 79), (9, 81), (9, 0)] {
        assert_eq!(decode(&bytes, store.at(SegmentId(segment), offset)), Err(RecordFault::Checksum));
    }
    let other = RecordSeed::new(StoreId(*b"0123456789abcdeg"));
    assert_eq!(decode(&bytes, other.at(SegmentId(9), 80)), Err(RecordFault::Checksum));
}

#[test]
fn a_run_of_equal_bytes_is_no_record() {
    for byte in 0..=u8::MAX {
        assert!(decode(&[byte; 4096], seed()).is_err(), "{byte}");
    }
}

#[test]
fn cancelling_keeps_the_length_and_hides_the_payload() {
    for (kind, payload, _) in golden() {
        let mut bytes = encoded(&kind, payload);
        let before = bytes.clone();
        cancel(&mut bytes, seed());
        let expected = Record { kind: RecordKind::Cancelled, payload: Payload::NONE, length: before.len() };
        assert_eq!(decode(&bytes, seed()), Ok(expected));
        assert_eq!(bytes[5..], before[5..]);
    }
}

#[test]
fn any_length_can_be_filled_and_what_fills_it_says_nothing() {
    let lengths = (MIN_LENGTH..300).chain([4096, 4101, 16_389, 16_390, 16_391, 16_392, 16_393]);
    for length in std::iter::once(0).chain(lengths) {
        let seed_at = |at: u32| RecordSeed::new(StoreId([1; 16])).at(SegmentId(2), 1000 + at);
        let mut bytes = vec![0xAB; length];
        fill(&mut bytes, seed_at);
        let mut at = 0;
        while at < length {
            let record = decode(&bytes[at..], seed_at(at as u32)).unwrap();
            assert_eq!(record.kind, RecordKind::Cancelled);
            at += record.length;
        }
        assert_eq!(at, length);
    }
}

#[test]
fn resealing_moves_a_record_and_changes_nothing_else() {
    let mut bytes = encoded(&RecordKind::Entry, b"moving");
    let before = bytes.clone();
    reseal(&mut bytes, 77);
    assert_eq!(decode(&bytes, 77).unwrap().payload.bytes, b"moving");
    assert!(decode(&bytes, seed()).is_err());
    assert_eq!(bytes[4..], before[4..]);
}

/// Bodies with a right checksum that no writer makes: `tag`, `length` and what follows.
#[test]
fn sealed_nonsense_is_refused() {
    let nonsense: [&[u8]; 16] = [
        &[0, 0],
        &[10, 0],
        &[0x14, 0],
        &[1, 0],
        &[1, 3, 1, 5, 6],
        &[1, 7, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 0],
        &[2, 1, 1],
        &[2, 3, 0x81, 0, 1],
        &[3, 4, 1, 5, 5, 0],
        &[4, 0x80, 0],
        &[5, 1, 0],
        &[6, 7, 0, 0, 0, 0, 0, 0, 0],
        &[7, 4, 0, 0, 0, 0],
        &[7, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[7, 44, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[9, 1, 0],
    ];
    for body in nonsense {
        let mut bytes = vec![0; 4];
        bytes.extend(body);
        // The mark of five heads.
        bytes.resize(bytes.len().max(if body[1] == 44 { 50 } else { 0 }), 0);
        reseal(&mut bytes, seed());
        assert!(matches!(decode(&bytes, seed()), Err(RecordFault::Invalid(_))), "{body:?}");
    }
}

#[test]
fn marks_of_every_number_of_heads_are_read() {
    for heads in 1..=4 {
        let mut stable = [Lsn(11), Lsn(22), Lsn(33), Lsn(44)];
        stable[usize::from(heads)..].fill(Lsn(0));
        let kind = RecordKind::Mark { end: 512, stable, heads };
        assert_eq!(decode(&encoded(&kind, b""), seed()).unwrap().kind, kind);
    }
}

fn kinds() -> impl Strategy<Value = RecordKind> {
    let page = || (0..PageId::LIMIT).prop_map(PageId);
    let versions =
        || (any::<u64>(), any::<u64>(), 0_u32..64).prop_map(|(a, b, s)| (a.max(b) >> s, a.min(b) >> s));
    prop_oneof![
        (page(), versions()).prop_map(|(page_id, (version, age))| RecordKind::Replace {
            page_id,
            version: Version(version),
            age
        }),
        (page(), versions())
            .prop_map(|(page_id, (version, _))| RecordKind::Link { page_id, version: Version(version) }),
        Just(RecordKind::Entry),
    ]
}

proptest! {
    #[test]
    fn records_come_back(kind in kinds(), payload in vec(any::<u8>(), 0..300), tail in vec(any::<u8>(), 0..20)) {
        let mut bytes = encoded(&kind, &payload);
        let length = bytes.len();
        bytes.extend(tail);
        prop_assert_eq!(decode(&bytes, seed()), Ok(Record { kind, payload: Payload::plain(&payload), length }));
    }

    #[test]
    fn random_bytes_give_an_answer(mut bytes in vec(any::<u8>(), 0..100), tag in 0_u8..11, length in 0_u8..90) {
        let _ = decode(&bytes, seed());
        if bytes.len() > 6 {
            (bytes[4], bytes[5]) = (tag, length);
            bytes.truncate(6 + usize::from(length));
            reseal(&mut bytes, seed());
            if let Ok(Record { kind, payload, .. }) = decode(&bytes, seed())
                && kind != RecordKind::Cancelled
            {
                prop_assert_eq!(encoded(&kind, payload.bytes), bytes);
            }
        }
    }
}
