//! What was sealed opens where it belongs, and nowhere else.

use hearthgate::store::{Address, Kind, LONGEST_CONTENT, SealProblem, Sealed, Sealer, StoreError};
use hearthgate::values::key::SealingKey;
use jiff::Timestamp;
use proptest::prelude::*;

use crate::support::{GATEWAY, sealing_key};

fn until() -> Timestamp {
    "2026-03-05T07:08:09.123Z".parse().unwrap()
}

fn sealer(key: &SealingKey) -> Sealer {
    Sealer::new(GATEWAY, key, [])
}

fn seal(sealer: &Sealer, content: &[u8]) -> Sealed {
    sealer.seal(sealer.address(Kind::Code, "c"), content, until()).unwrap()
}

/// The same bytes, found at another address.
fn moved(record: &Sealed, address: Address) -> Sealed {
    Sealed::from_bytes(address, record.as_bytes().to_vec()).unwrap()
}

fn problem(sealer: &Sealer, record: &Sealed) -> SealProblem {
    match sealer.open(record) {
        Err(StoreError::Unopenable { address, problem }) => {
            assert_eq!(address, record.address());
            problem
        }
        other => panic!("it opened: {other:?}"),
    }
}

#[test]
fn what_was_sealed_opens_with_its_content_and_expiry() {
    let sealer = sealer(&sealing_key());
    let record = seal(&sealer, b"content");
    let found = moved(&record, sealer.address(Kind::Code, "c"));
    assert_eq!(found, record);
    assert_eq!(found.until(), until());
    assert_eq!(sealer.open(&found).unwrap().as_slice(), b"content");
}

#[test]
fn the_same_content_is_never_sealed_to_the_same_bytes() {
    let sealer = sealer(&sealing_key());
    assert_ne!(seal(&sealer, b"content"), seal(&sealer, b"content"));
}

#[test]
fn every_revision_opens_and_the_current_one_seals() {
    let (old, new) = (sealing_key(), sealing_key());
    let before = seal(&sealer(&old), b"before");
    let both = Sealer::new(GATEWAY, &new, [&old]);
    assert_eq!(both.open(&before).unwrap().as_slice(), b"before");
    let after = seal(&both, b"after");
    assert_eq!(sealer(&new).open(&after).unwrap().as_slice(), b"after");
    assert_eq!(problem(&sealer(&old), &after), SealProblem::UnknownKey);
    assert_eq!(problem(&sealer(&new), &before), SealProblem::UnknownKey, "a withdrawn key still opens");
}

#[test]
fn a_record_does_not_open_at_another_key_kind_or_gateway() {
    let key = sealing_key();
    let sealer = sealer(&key);
    let record = seal(&sealer, b"content");
    for elsewhere in [
        sealer.address(Kind::Code, "d"),
        sealer.address(Kind::Session, "c"),
        Address::of(Kind::Code, "clinic/other", "c"),
    ] {
        assert_eq!(problem(&sealer, &moved(&record, elsewhere)), SealProblem::Broken);
    }
    assert_eq!(problem(&Sealer::new("clinic/other", &key, []), &record), SealProblem::Broken);
}

#[test]
fn two_records_cannot_be_swapped() {
    let sealer = sealer(&sealing_key());
    let [a, b] =
        ["a", "b"].map(|key| sealer.seal(sealer.address(Kind::Session, key), key.as_bytes(), until()).unwrap());
    assert_eq!(problem(&sealer, &moved(&a, b.address())), SealProblem::Broken);
    assert_eq!(problem(&sealer, &moved(&b, a.address())), SealProblem::Broken);
}

#[test]
fn a_life_that_was_prolonged_breaks_the_seal() {
    let sealer = sealer(&sealing_key());
    let record = seal(&sealer, b"content");
    let mut bytes = record.as_bytes().to_vec();
    // The expiry's last byte: form and key's name come before it.
    bytes[12] = bytes[12].wrapping_add(1);
    let prolonged = Sealed::from_bytes(record.address(), bytes).unwrap();
    assert!(prolonged.until() > record.until());
    assert_eq!(problem(&sealer, &prolonged), SealProblem::Broken);
}

#[test]
fn debug_shows_neither_key_nor_content() {
    let sealer = sealer(&sealing_key());
    let shown = format!("{sealer:?} {:?}", seal(&sealer, b"canary"));
    assert!(shown.starts_with("Sealer(clinic/epic, 1 keys) Sealed(code "), "{shown}");
    assert!(!shown.contains("canary"));
}

#[test]
fn a_content_has_a_longest_length() {
    let sealer = sealer(&sealing_key());
    let address = sealer.address(Kind::Session, "s");
    assert!(sealer.seal(address, &vec![0; LONGEST_CONTENT], until()).is_ok());
    let length = LONGEST_CONTENT + 1;
    let refused = sealer.seal(address, &vec![0; length], until());
    assert_eq!(refused, Err(StoreError::TooLong { kind: Kind::Session, length }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_changed_or_missing_byte_goes_unnoticed(content in proptest::collection::vec(any::<u8>(), 0..40), flip in 1..=255_u8) {
        let sealer = sealer(&sealing_key());
        let record = seal(&sealer, &content);
        for place in 0..record.as_bytes().len() {
            let mut changed = record.as_bytes().to_vec();
            changed[place] ^= flip;
            let opened = Sealed::from_bytes(record.address(), changed).and_then(|record| sealer.open(&record));
            prop_assert!(opened.is_err(), "byte {place}");
            let cut = record.as_bytes()[..place].to_vec();
            let opened = Sealed::from_bytes(record.address(), cut).and_then(|record| sealer.open(&record));
            prop_assert!(opened.is_err(), "cut at {place}");
        }
        let opened = sealer.open(&record).unwrap();
        prop_assert_eq!(opened.as_slice(), content.as_slice());
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let sealer = sealer(&sealing_key());
        let address = sealer.address(Kind::Code, "c");
        let opened = Sealed::from_bytes(address, bytes).and_then(|record| sealer.open(&record));
        prop_assert!(opened.is_err());
    }
}
