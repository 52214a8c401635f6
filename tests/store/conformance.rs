//! What holds of every store. Each test runs on both.

use std::time::Duration;

use futures::future::join_all;
use hearthgate::store::{
    Address, FamilyId, FirstUse, Kind, Records, Replaced, Rotated, Sealer, Store, StoreError, Take,
};
use rstest::rstest;
use secrecy::{ExposeSecret as _, SecretString};

use crate::support::{Backend, GATEWAY, Place, eventually, later, now, sealing_key, within};

const RACES: usize = 1_000;

/// Starts two of the same at once, one on each connection, for every race; gives what both said.
async fn race<T>(places: &[Records], run: impl AsyncFn(&Records, usize) -> T) -> Vec<[T; 2]> {
    let mut outcomes = Vec::new();
    // A hundred races at a time: enough to interleave, and no step waits for the whole thousand.
    for start in (0..RACES).step_by(100) {
        let both = (start..start + 100).map(|number| {
            let run = &run;
            async move { <[T; 2]>::from(futures::future::join(run(&places[0], number), run(&places[1], number)).await) }
        });
        outcomes.extend(join_all(both).await);
    }
    outcomes
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test(flavor = "multi_thread")]
async fn of_racing_uses_exactly_one_is_the_first(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let until = later();
    let outcomes = race(&place.records, async |records, number| {
        records.use_once(Kind::Assertion, &format!("jti-{number}"), until, now()).await.unwrap()
    })
    .await;
    let firsts = |uses: &[FirstUse; 2]| uses.iter().filter(|used| **used == FirstUse::First).count();
    assert_eq!(outcomes.iter().map(firsts).collect::<Vec<_>>(), [1; RACES]);
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test(flavor = "multi_thread")]
async fn of_racing_takers_exactly_one_is_the_first_and_the_other_learns_what_was_taken(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let until = later();
    for number in 0..RACES {
        let code = format!("code-{number}");
        place.records[number % 2].put(Kind::Code, &code, &number, until, now()).await.unwrap();
    }
    let outcomes = race(&place.records, async |records, number| {
        records.take::<usize>(Kind::Code, &format!("code-{number}"), until, now()).await.unwrap()
    })
    .await;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let (first, again) = (Take::First(number), Take::Again(number));
        assert!(outcome == [first.clone(), again.clone()] || outcome == [again, first], "{number}: {outcome:?}");
    }
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test(flavor = "multi_thread")]
async fn of_racing_refreshes_exactly_one_is_served_and_the_other_ends_the_family(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let until = later();
    let mut families = Vec::new();
    for number in 0..RACES {
        let id = FamilyId::random().unwrap();
        let token = place.records[number % 2].start_family(id, &number, until, now()).await.unwrap().unwrap();
        families.push(place.records[0].family::<usize>(token.expose_secret(), now()).await.unwrap().unwrap());
    }
    let outcomes = race(&place.records, async |records, number| {
        records.rotate(&families[number], until, until, now()).await.unwrap()
    })
    .await;
    for (family, outcome) in families.iter().zip(outcomes) {
        let ([Rotated::Next(next), Rotated::Reused] | [Rotated::Reused, Rotated::Next(next)]) = outcome else {
            panic!("not one served and one refused: {outcome:?}");
        };
        let found = place.records[1].family::<usize>(next.expose_secret(), now()).await.unwrap();
        assert!(found.is_none(), "the family goes on after a reuse");
        assert!(place.records.iter().any(|records| records.is_revoked("jti", Some(family.id), now())));
    }
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test(flavor = "multi_thread")]
async fn of_racing_replacements_of_one_version_exactly_one_is_made(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let until = later();
    let [first, second] = [&place.records[0], &place.records[1]];
    first.put(Kind::Session, "s", &"old", until, now()).await.unwrap();
    let outcomes = join_all((0..100).map(|number| {
        let records = if number % 2 == 0 { first } else { second };
        async move { records.replace(Kind::Session, "s", 1, &number, until, now()).await.unwrap() }
    }))
    .await;
    let made: Vec<usize> = (0..100).filter(|number| outcomes[*number] == Replaced::Replaced).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Replaced::Changed).count(), 99);
    let record = second.get::<usize>(Kind::Session, "s", now()).await.unwrap().unwrap();
    assert_eq!((record.content, record.version), (made[0], 2));
    assert_eq!(first.replace(Kind::Session, "none", 1, &0, until, now()).await, Ok(Replaced::Absent));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_record_is_found_by_its_kind_and_key_until_it_is_removed(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let [first, second] = [&place.records[0], &place.records[1]];
    first.put(Kind::Session, "s", &("tokens", 7), later(), now()).await.unwrap();
    let found = second.get::<(String, u8)>(Kind::Session, "s", now()).await.unwrap().unwrap();
    assert_eq!((found.content, found.version), (("tokens".to_owned(), 7), 1));
    assert_eq!(second.get::<(String, u8)>(Kind::Launch, "s", now()).await, Ok(None));
    assert_eq!(second.get::<(String, u8)>(Kind::Session, "t", now()).await, Ok(None));
    second.remove(Kind::Session, "s").await.unwrap();
    assert_eq!(first.get::<(String, u8)>(Kind::Session, "s", now()).await, Ok(None));
    second.remove(Kind::Session, "s").await.unwrap();
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_second_record_at_the_same_place_is_refused(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    place.records[0].put(Kind::Code, "c", &1, later(), now()).await.unwrap();
    let address = Address::of(Kind::Code, GATEWAY, "c");
    let refused = Err(StoreError::Exists { address });
    assert_eq!(place.records[1].put(Kind::Code, "c", &2, later(), now()).await, refused);
    assert_eq!(place.records[1].take(Kind::Code, "c", later(), now()).await, Ok(Take::First(1)));
    assert_eq!(place.records[1].put(Kind::Code, "c", &2, later(), now()).await, refused, "a taken code came to life");
    assert_eq!(place.records[0].get::<u8>(Kind::Code, "c", now()).await, Ok(None));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn what_expired_is_as_if_it_had_never_been(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let [first, second] = [&place.records[0], &place.records[1]];
    let soon = within(300);
    let family = FamilyId::random().unwrap();
    assert_eq!(first.use_once(Kind::Assertion, "j", soon, now()).await, Ok(FirstUse::First));
    first.put(Kind::Code, "c", &1, soon, now()).await.unwrap();
    first.put(Kind::Session, "s", &1, soon, now()).await.unwrap();
    let token = first.start_family(family, &1, soon, now()).await.unwrap().unwrap();
    first.revoke("t", soon, now()).await.unwrap();
    assert!(first.is_revoked("t", None, now()));

    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(second.use_once(Kind::Assertion, "j", later(), now()).await, Ok(FirstUse::First));
    assert_eq!(second.take::<u8>(Kind::Code, "c", later(), now()).await, Ok(Take::Absent));
    assert_eq!(second.get::<u8>(Kind::Session, "s", now()).await, Ok(None));
    assert_eq!(second.replace(Kind::Session, "s", 1, &2, later(), now()).await, Ok(Replaced::Absent));
    assert!(second.family::<u8>(token.expose_secret(), now()).await.unwrap().is_none());
    assert!(!first.is_revoked("t", None, now()));
    second.put(Kind::Session, "s", &2, later(), now()).await.unwrap();
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_taken_code_is_remembered_beyond_its_own_life(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    place.records[0].put(Kind::Code, "c", &"grant", within(200), now()).await.unwrap();
    let first = place.records[0].take::<String>(Kind::Code, "c", later(), now()).await;
    assert_eq!(first, Ok(Take::First("grant".to_owned())));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let again = place.records[1].take::<String>(Kind::Code, "c", now(), now()).await;
    assert_eq!(again, Ok(Take::Again("grant".to_owned())));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_family_goes_on_with_each_new_token_and_ends_with_any_old_one(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let [first, second] = [&place.records[0], &place.records[1]];
    let id = FamilyId::random().unwrap();
    let mut tokens = vec![first.start_family(id, &"granted", later(), now()).await.unwrap().unwrap()];
    for generation in 1..=5 {
        let family = second.family::<String>(tokens.last().unwrap().expose_secret(), now()).await.unwrap().unwrap();
        assert_eq!((family.generation, family.latest, family.content.as_str()), (generation, true, "granted"));
        let Rotated::Next(next) = second.rotate(&family, later(), later(), now()).await.unwrap() else {
            panic!("the latest token is refused")
        };
        tokens.push(next);
    }
    assert!(!first.is_revoked("any", Some(id), now()));

    let spent = first.family::<String>(tokens[2].expose_secret(), now()).await.unwrap().unwrap();
    assert!(!spent.latest);
    assert!(matches!(first.rotate(&spent, later(), later(), now()).await, Ok(Rotated::Reused)));
    for token in &tokens {
        assert!(second.family::<String>(token.expose_secret(), now()).await.unwrap().is_none());
    }
    assert!(matches!(first.rotate(&spent, later(), later(), now()).await, Ok(Rotated::Ended)));
    assert!(first.is_revoked("any", Some(id), now()), "its access tokens live on");
    eventually("the other replica refuses them too", Duration::from_secs(1), async || {
        second.is_revoked("any", Some(id), now())
    })
    .await;
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_family_that_was_ended_before_it_began_does_not_begin(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let id = FamilyId::random().unwrap();
    place.records[0].end_family(id, later(), now()).await.unwrap();
    assert!(place.records[1].start_family(id, &1, later(), now()).await.unwrap().is_none());
    let lives = FamilyId::random().unwrap();
    assert!(place.records[1].start_family(lives, &1, later(), now()).await.unwrap().is_some());
    assert!(place.records[0].start_family(lives, &1, later(), now()).await.unwrap().is_none(), "begun twice");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_forged_refresh_token_is_unknown_and_ends_nothing(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let records = &place.records[0];
    let id = FamilyId::random().unwrap();
    let token = records.start_family(id, &1, later(), now()).await.unwrap().unwrap();
    // Another gateway with the same family ID makes tokens that look alike.
    let elsewhere = Records::new(place.stores[0].clone(), Sealer::new("clinic/other", &sealing_key(), []).into());
    let foreign = elsewhere.start_family(id, &1, later(), now()).await.unwrap().unwrap();
    let mut changed = token.expose_secret().to_owned();
    changed.pop();
    changed.push(if token.expose_secret().ends_with('A') { 'Q' } else { 'A' });
    for forged in [foreign, SecretString::from(changed), "hgr_".into(), "".into(), "é".into()] {
        assert!(records.family::<u8>(forged.expose_secret(), now()).await.unwrap().is_none());
    }
    assert!(records.family::<u8>(token.expose_secret(), now()).await.unwrap().is_some());
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_revocation_is_known_at_once_here_and_within_a_second_elsewhere(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let [first, second] = [&place.records[0], &place.records[1]];
    let changes = place.stores[1].revocations().changes();
    for token in ["t1", "t2", "t3"] {
        first.revoke(token, later(), now()).await.unwrap();
        assert!(first.is_revoked(token, None, now()));
        eventually("the other replica knows", Duration::from_secs(1), async || second.is_revoked(token, None, now()))
            .await;
    }
    assert!(changes.has_changed().unwrap());
    assert!(!second.is_revoked("t4", Some(FamilyId::random().unwrap()), now()));
    let health = place.stores[1].health();
    assert_eq!((health.reachable, health.revocations_synced, health.revocations), (true, true, 3));
    assert!(health.revocations_silence.unwrap() < Duration::from_secs(1));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_count_is_shared_and_begins_anew_when_its_time_is_over(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let until = within(300);
    for expected in 1..=4_u64 {
        let records = &place.records[usize::from(expected % 2 == 0)];
        assert_eq!(records.count(Kind::Attempts, "app from 192.0.2.1", until, now()).await, Ok(expected));
    }
    assert_eq!(place.records[0].count(Kind::Attempts, "other", until, now()).await, Ok(1));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(place.records[0].count(Kind::Attempts, "app from 192.0.2.1", later(), now()).await, Ok(1));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn gateways_share_nothing(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let here = &place.records[0];
    let there = Records::new(place.stores[1].clone(), Sealer::new("clinic/other", &sealing_key(), []).into());
    here.put(Kind::Code, "c", &1, later(), now()).await.unwrap();
    here.revoke("t", later(), now()).await.unwrap();
    assert_eq!(here.use_once(Kind::Assertion, "j", later(), now()).await, Ok(FirstUse::First));
    assert_eq!(there.use_once(Kind::Assertion, "j", later(), now()).await, Ok(FirstUse::First));
    assert_eq!(there.take::<u8>(Kind::Code, "c", later(), now()).await, Ok(Take::Absent));
    assert!(!there.is_revoked("t", None, now()));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_content_that_is_too_long_is_refused(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    let long = "x".repeat(64 * 1024);
    let refused = place.records[0].put(Kind::Session, "s", &long, later(), now()).await;
    assert_eq!(refused, Err(StoreError::TooLong { kind: Kind::Session, length: 64 * 1024 + 2 }));
    let longest = &long[2..];
    place.records[0].put(Kind::Session, "s", &longest, later(), now()).await.unwrap();
    let found = place.records[1].get::<String>(Kind::Session, "s", now()).await.unwrap().unwrap();
    assert_eq!(found.content, longest);
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::valkey(Backend::Valkey)]
#[tokio::test]
async fn a_record_of_another_key_or_form_is_an_error_that_names_it(#[case] backend: Backend) {
    let place = Place::open(backend).await;
    place.records[0].put(Kind::Session, "s", &"text", later(), now()).await.unwrap();
    let stranger = Records::new(place.stores[0].clone(), Sealer::new(GATEWAY, &sealing_key(), []).into());
    let error = stranger.get::<String>(Kind::Session, "s", now()).await.unwrap_err();
    let address = Address::of(Kind::Session, GATEWAY, "s");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let error = place.records[0].get::<u8>(Kind::Session, "s", now()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// Object safety, and that a store can be shared.
#[test]
fn a_store_can_be_held_by_anything() {
    fn check<T: ?Sized + Send + Sync + 'static>() {}
    check::<dyn Store>();
}
