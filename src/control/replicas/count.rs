//! How many replicas serve each object, told so that replicas that come and go are no news. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::control::Serving;
use crate::outbound::programmed::ProgrammedObject;
use crate::snapshot::digest::{Digest, Digests};
use crate::snapshot::{ObjectKey, ObjectReference};

/// How long a worse count is held back: a rollout replaces replicas one by one, and each is back within that time.
const HELD: Duration = Duration::from_secs(10);

/// What a replica told.
#[derive(Debug, Default)]
pub(super) struct Told {
    digests: Digests,
    /// By gateway: the revisions of its own keys.
    signing: BTreeMap<ObjectKey, BTreeSet<u32>>,
}

impl Told {
    pub(super) fn of(objects: Vec<ProgrammedObject>) -> Self {
        let mut told = Self::default();
        for ProgrammedObject { object, digest, signing_revisions } in objects {
            if !signing_revisions.is_empty() {
                told.signing.insert(object.key.clone(), signing_revisions.into_iter().collect());
            }
            told.digests.insert(object, digest);
        }
        told
    }
}

/// What was counted for each object.
#[derive(Debug, Default)]
pub(super) struct Counter {
    counted: BTreeMap<ObjectReference, Counted>,
}

#[derive(Debug)]
struct Counted {
    digest: Digest,
    count: Count,
    /// Since when the count is another one.
    differs_since: Option<Instant>,
}

/// Replicas that serve an object as it stands, of ready replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    serving: u32,
    ready: u32,
}

impl Count {
    fn is_full(self) -> bool {
        self.ready > 0 && self.serving == self.ready
    }
}

impl Counter {
    /// Counts. `replicas` holds what each ready one told; `None`: nothing yet. The moment is when to count again.
    pub(super) fn count(
        &mut self,
        own: &Digests,
        replicas: &[Option<&Told>],
        now: Instant,
    ) -> (Serving, Option<Instant>) {
        let ready = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
        let mut again: Option<Instant> = None;
        for (object, digest) in own {
            let serve = replicas.iter().flatten().filter(|replica| replica.digests.get(object) == Some(digest)).count();
            let count = Count { serving: u32::try_from(serve).unwrap_or(u32::MAX), ready };
            match self.counted.get_mut(object) {
                Some(counted) if counted.digest == *digest => {
                    if let Some(due) = counted.see(count, now) {
                        again = Some(again.map_or(due, |again| again.min(due)));
                    }
                }
                Some(_) | None => {
                    let counted = Counted { digest: *digest, count, differs_since: None };
                    self.counted.insert(object.clone(), counted);
                }
            }
        }
        self.counted.retain(|object, _| own.contains_key(object));
        let numbers = |counted: &Counted| (counted.count.serving, counted.count.ready);
        let serving = self.counted.iter().map(|(object, counted)| (object.clone(), numbers(counted))).collect();
        (Serving::Replicas { ready, serving, signing: common(replicas) }, again)
    }
}

impl Counted {
    /// Takes a count over, at once or later; tells when later is.
    fn see(&mut self, count: Count, now: Instant) -> Option<Instant> {
        if count == self.count {
            self.differs_since = None;
            return None;
        }
        let due = *self.differs_since.get_or_insert(now) + HELD;
        let is_good_news = count.is_full() && !self.count.is_full();
        // While an edit spreads, each replica that has it is news.
        let spreads = !self.count.is_full() && count.ready == self.count.ready && count.serving > self.count.serving;
        if is_good_news || spreads || now >= due {
            self.count = count;
            self.differs_since = None;
            return None;
        }
        Some(due)
    }
}

/// By gateway: the revisions of its own keys that every replica has. None while one of them has not told anything.
fn common(replicas: &[Option<&Told>]) -> BTreeMap<ObjectKey, BTreeSet<u32>> {
    let Some((Some(first), others)) = replicas.split_first() else { return BTreeMap::new() };
    let has = |replica: Option<&Told>, gateway: &ObjectKey, revision: &u32| {
        replica.and_then(|told| told.signing.get(gateway)).is_some_and(|revisions| revisions.contains(revision))
    };
    let of = |(gateway, revisions): (&ObjectKey, &BTreeSet<u32>)| {
        let everywhere = |revision: &&u32| others.iter().all(|other| has(*other, gateway, revision));
        (gateway.clone(), revisions.iter().filter(everywhere).copied().collect())
    };
    first.signing.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Kind, ObjectKey};

    fn object() -> ObjectReference {
        ObjectReference::new(Kind::App, ObjectKey::new("default", "sync"))
    }

    fn told(digest: &str) -> Told {
        Told { digests: Digests::from([(object(), serde_json::from_value(digest.into()).unwrap())]), ..Told::default() }
    }

    fn of(serving: &Serving) -> (u32, u32) {
        serving.of(&object())
    }

    #[test]
    fn an_edit_counts_up_as_it_spreads() {
        let (old, new) = (told("1"), told("2"));
        let (mut counter, now) = (Counter::default(), Instant::now());
        let mut count = |own: &Told, replicas: &[Option<&Told>]| of(&counter.count(&own.digests, replicas, now).0);
        assert_eq!(count(&old, &[Some(&old), Some(&old)]), (2, 2));
        assert_eq!(count(&new, &[Some(&old), Some(&old)]), (0, 2));
        assert_eq!(count(&new, &[Some(&new), Some(&old)]), (1, 2));
        assert_eq!(count(&new, &[Some(&new), Some(&new)]), (2, 2));
    }

    #[test]
    fn replicas_that_come_and_go_are_told_only_when_it_lasts() {
        let (own, start) = (told("1"), Instant::now());
        let mut counter = Counter::default();
        counter.count(&own.digests, &[Some(&own), Some(&own), Some(&own)], start);
        let (held, again) = counter.count(&own.digests, &[Some(&own), Some(&own)], start);
        assert_eq!((of(&held), again), ((3, 3), Some(start + HELD)));
        let (back, again) = counter.count(&own.digests, &[Some(&own), Some(&own), Some(&own)], start + HELD / 2);
        assert_eq!((of(&back), again), ((3, 3), None));
        counter.count(&own.digests, &[Some(&own), None], start + HELD);
        let (lasting, _) = counter.count(&own.digests, &[Some(&own), None], start + HELD * 2);
        assert_eq!(of(&lasting), (1, 2));
    }

    #[test]
    fn the_first_replica_is_good_news_and_the_last_to_go_is_told_in_the_end() {
        let (own, start) = (told("1"), Instant::now());
        let mut counter = Counter::default();
        assert_eq!(of(&counter.count(&own.digests, &[], start).0), (0, 0));
        assert_eq!(of(&counter.count(&own.digests, &[Some(&own)], start).0), (1, 1));
        assert_eq!(of(&counter.count(&own.digests, &[], start).0), (1, 1));
        assert_eq!(of(&counter.count(&own.digests, &[], start + HELD).0), (0, 0));
    }

    #[test]
    fn an_object_that_is_gone_is_forgotten() {
        let (own, start) = (told("1"), Instant::now());
        let mut counter = Counter::default();
        counter.count(&own.digests, &[Some(&own)], start);
        let (serving, _) = counter.count(&Digests::new(), &[Some(&own)], start);
        assert_eq!(serving, Serving::Replicas { ready: 1, serving: BTreeMap::new(), signing: BTreeMap::new() });
    }
    #[test]
    fn a_gateways_key_may_sign_once_every_replica_has_it_and_not_while_one_is_silent() {
        let gateway = ObjectKey::new("default", "epic");
        let with = |revisions: &[u32]| Told {
            signing: [(gateway.clone(), revisions.iter().copied().collect())].into(),
            ..Told::default()
        };
        let (old, new, nothing) = (with(&[1]), with(&[1, 2]), Told::default());
        for (replicas, expected) in [
            (vec![Some(&new), Some(&new)], &[1, 2][..]),
            (vec![Some(&new), Some(&old)], &[1]),
            (vec![Some(&old), Some(&new)], &[1]),
            (vec![Some(&new), Some(&nothing)], &[]),
            (vec![Some(&new), None], &[]),
            (vec![None, Some(&new)], &[]),
            (vec![], &[]),
        ] {
            let found = common(&replicas).remove(&gateway).unwrap_or_default();
            assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{replicas:?}");
        }
    }
}
