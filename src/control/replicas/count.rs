//! How many replicas serve each object, told so that replicas that come and go are no news. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::control::Serving;
use crate::outbound::programmed::{Digest, Digests};
use crate::snapshot::ObjectReference;

/// How long a worse count is held back: a rollout replaces replicas one by one, and each is back within that time.
const HELD: Duration = Duration::from_secs(10);

/// What was told of each object.
#[derive(Debug, Default)]
pub(super) struct Counter {
    told: BTreeMap<ObjectReference, Told>,
}

#[derive(Debug)]
struct Told {
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
        replicas: &[Option<&Digests>],
        now: Instant,
    ) -> (Serving, Option<Instant>) {
        let ready = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
        let mut again: Option<Instant> = None;
        for (object, digest) in own {
            let serve = replicas.iter().flatten().filter(|replica| replica.get(object) == Some(digest)).count();
            let count = Count { serving: u32::try_from(serve).unwrap_or(u32::MAX), ready };
            match self.told.get_mut(object) {
                Some(told) if told.digest == *digest => {
                    if let Some(due) = told.see(count, now) {
                        again = Some(again.map_or(due, |again| again.min(due)));
                    }
                }
                Some(_) | None => {
                    let told = Told { digest: digest.clone(), count, differs_since: None };
                    self.told.insert(object.clone(), told);
                }
            }
        }
        let own: BTreeSet<_> = own.keys().collect();
        self.told.retain(|object, _| own.contains(object));
        let serving =
            self.told.iter().map(|(object, told)| (object.clone(), (told.count.serving, told.count.ready))).collect();
        (Serving::Replicas { ready, serving }, again)
    }
}

impl Told {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Kind, ObjectKey};

    fn object() -> ObjectReference {
        ObjectReference::new(Kind::App, ObjectKey::new("default", "sync"))
    }

    fn digests(digest: &str) -> Digests {
        Digests::from([(object(), serde_json::from_value(digest.into()).unwrap())])
    }

    fn of(serving: &Serving) -> (u32, u32) {
        serving.of(&object())
    }

    #[test]
    fn an_edit_counts_up_as_it_spreads() {
        let (old, new) = (digests("1"), digests("2"));
        let (mut counter, now) = (Counter::default(), Instant::now());
        let mut count = |own: &Digests, replicas: &[Option<&Digests>]| of(&counter.count(own, replicas, now).0);
        assert_eq!(count(&old, &[Some(&old), Some(&old)]), (2, 2));
        assert_eq!(count(&new, &[Some(&old), Some(&old)]), (0, 2));
        assert_eq!(count(&new, &[Some(&new), Some(&old)]), (1, 2));
        assert_eq!(count(&new, &[Some(&new), Some(&new)]), (2, 2));
    }

    #[test]
    fn replicas_that_come_and_go_are_told_only_when_it_lasts() {
        let (own, start) = (digests("1"), Instant::now());
        let mut counter = Counter::default();
        counter.count(&own, &[Some(&own), Some(&own), Some(&own)], start);
        let (held, again) = counter.count(&own, &[Some(&own), Some(&own)], start);
        assert_eq!((of(&held), again), ((3, 3), Some(start + HELD)));
        let (back, again) = counter.count(&own, &[Some(&own), Some(&own), Some(&own)], start + HELD / 2);
        assert_eq!((of(&back), again), ((3, 3), None));
        counter.count(&own, &[Some(&own), None], start + HELD);
        let (lasting, _) = counter.count(&own, &[Some(&own), None], start + HELD * 2);
        assert_eq!(of(&lasting), (1, 2));
    }

    #[test]
    fn the_first_replica_is_good_news_and_the_last_to_go_is_told_in_the_end() {
        let (own, start) = (digests("1"), Instant::now());
        let mut counter = Counter::default();
        assert_eq!(of(&counter.count(&own, &[], start).0), (0, 0));
        assert_eq!(of(&counter.count(&own, &[Some(&own)], start).0), (1, 1));
        assert_eq!(of(&counter.count(&own, &[], start).0), (1, 1));
        assert_eq!(of(&counter.count(&own, &[], start + HELD).0), (0, 0));
    }

    #[test]
    fn an_object_that_is_gone_is_forgotten() {
        let (own, start) = (digests("1"), Instant::now());
        let mut counter = Counter::default();
        counter.count(&own, &[Some(&own)], start);
        let (serving, _) = counter.count(&Digests::new(), &[Some(&own)], start);
        assert_eq!(serving, Serving::Replicas { ready: 1, serving: BTreeMap::new() });
    }
}
