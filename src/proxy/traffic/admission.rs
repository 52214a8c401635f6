//! Who may call an EHR next: apps take turns, so that one app's load never starves another.
//!
//! At most [`AT_ONCE`] calls wait for an EHR's answer at once, at most [`OF_ONE_APP`] of them one app's; a `rateLimit` of
//! the adapter paces them besides. What cannot go at once waits in its app's own bounded queue, and each free place goes
//! to the next app in turn that has somebody waiting: with a hundred waiting calls of one app and one of another, the
//! other's is the second to go.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::rates::{self, Limiter};
use crate::api::gateway::RateLimit;
use crate::snapshot::ObjectKey;

/// Calls to one EHR that wait for their answer's headers.
const AT_ONCE: usize = 1024;
/// The same of one app.
const OF_ONE_APP: usize = 256;
/// Calls of one app that wait for their turn.
const QUEUE: usize = 1024;
/// How long a turn is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where the adapter's rate is what is waited for: who comes much too often should hear of it soon.
const RATE_PATIENCE: Duration = Duration::from_secs(1);

/// The calls to one EHR.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Admission {
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    at_once: usize,
    apps: HashMap<ObjectKey, App>,
    /// Apps with somebody waiting, the next one first.
    turns: VecDeque<ObjectKey>,
    rate: Option<(RateLimit, Limiter)>,
    /// A task sleeps until the rate allows the next call.
    sleeps: bool,
}

#[derive(Debug, Default)]
struct App {
    at_once: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// The app has too many calls under way and waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Crowded;

/// A call's place; free again when dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Place {
    admission: Option<(Arc<Admission>, ObjectKey)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((admission, app)) = self.admission.take() {
            let somebody_waits = {
                let mut queues = admission.queues();
                queues.leave(&app);
                !queues.turns.is_empty()
            };
            if somebody_waits {
                admission.next();
            }
        }
    }
}

impl Admission {
    /// Waits for a place among the calls of this app.
    pub(in crate::proxy) async fn enter(
        self: &Arc<Self>,
        app: &ObjectKey,
        rate: Option<&RateLimit>,
    ) -> Result<Place, Crowded> {
        let turn = {
            let mut queues = self.queues();
            queues.follow(rate);
            if queues.enter_at_once(app) {
                return Ok(Place { admission: Some((Arc::clone(self), app.clone())) });
            }
            let queue =
                rate.map_or(QUEUE, |rate| usize::try_from(rate.requests_per_second).unwrap_or(QUEUE).min(QUEUE));
            let waiting = queues.apps.entry(app.clone()).or_default();
            if waiting.waiting.len() >= queue {
                return Err(Crowded);
            }
            let (sender, turn) = oneshot::channel();
            waiting.waiting.push_back(sender);
            if waiting.waiting.len() == 1 {
                queues.turns.push_back(app.clone());
            }
            turn
        };
        self.next();
        let patience = if rate.is_some() { RATE_PATIENCE } else { PATIENCE };
        match timeout(patience, turn).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Crowded),
        }
    }

    /// Calls under way, and calls that wait for their turn.
    pub(in crate::proxy) fn load(&self) -> (usize, usize) {
        let queues = self.queues();
        (queues.at_once, queues.apps.values().map(|app| app.waiting.len()).sum())
    }

    /// Gives out whatever places there are.
    fn next(self: &Arc<Self>) {
        let mut queues = self.queues();
        let mut passed_over = 0;
        while queues.at_once < AT_ONCE && passed_over < queues.turns.len() {
            let Some(app) = queues.turns.pop_front() else { break };
            match queues.first_waiting(&app) {
                Waiting::Nobody => continue,
                Waiting::NotNow => {
                    queues.turns.push_back(app);
                    passed_over += 1;
                    continue;
                }
                Waiting::Somebody => {}
            }
            if let Err(wait) = queues.rate.as_ref().map_or(Ok(()), |(_, limiter)| rates::check(limiter)) {
                queues.turns.push_front(app);
                self.sleep(&mut queues, wait);
                break;
            }
            let Some(sender) = queues.enter(&app) else { continue };
            let place = Place { admission: Some((Arc::clone(self), app.clone())) };
            if let Err(mut unwanted) = sender.send(place) {
                // Its client went away. Its drop would ask for the lock that is held here.
                unwanted.admission = None;
                queues.leave(&app);
            }
            passed_over = 0;
            if queues.apps.get(&app).is_some_and(|app| !app.waiting.is_empty()) {
                queues.turns.push_back(app);
            }
        }
    }

    fn sleep(self: &Arc<Self>, queues: &mut Queues, wait: Duration) {
        if queues.sleeps {
            return;
        }
        queues.sleeps = true;
        let admission = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            admission.queues().sleeps = false;
            admission.next();
        });
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Waiting {
    Nobody,
    NotNow,
    Somebody,
}

impl Queues {
    /// Takes a place where nobody waits for one, which is nearly always.
    fn enter_at_once(&mut self, key: &ObjectKey) -> bool {
        if !self.turns.is_empty() || self.at_once >= AT_ONCE {
            return false;
        }
        let within_rate = || self.rate.as_ref().is_none_or(|(_, limiter)| rates::check(limiter).is_ok());
        match self.apps.get_mut(key) {
            Some(app) if app.at_once < OF_ONE_APP && within_rate() => app.at_once += 1,
            None if within_rate() => {
                self.apps.insert(key.clone(), App { at_once: 1, ..App::default() });
            }
            Some(_) | None => return false,
        }
        self.at_once += 1;
        true
    }

    fn follow(&mut self, rate: Option<&RateLimit>) {
        if self.rate.as_ref().map(|(known, _)| known) != rate {
            self.rate = rate.map(|rate| (rate.clone(), rates::limiter(rate)));
        }
    }

    /// Whether somebody of this app may go; those that gave up are dropped.
    fn first_waiting(&mut self, key: &ObjectKey) -> Waiting {
        let Some(app) = self.apps.get_mut(key) else { return Waiting::Nobody };
        while app.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            app.waiting.pop_front();
        }
        if app.waiting.is_empty() {
            self.forget_idle(key);
            return Waiting::Nobody;
        }
        if app.at_once < OF_ONE_APP { Waiting::Somebody } else { Waiting::NotNow }
    }

    fn enter(&mut self, key: &ObjectKey) -> Option<oneshot::Sender<Place>> {
        let app = self.apps.get_mut(key)?;
        let sender = app.waiting.pop_front()?;
        app.at_once += 1;
        self.at_once += 1;
        Some(sender)
    }

    fn leave(&mut self, key: &ObjectKey) {
        self.at_once = self.at_once.saturating_sub(1);
        let Some(app) = self.apps.get_mut(key) else { return };
        app.at_once = app.at_once.saturating_sub(1);
        if app.at_once == 0 {
            self.forget_idle(key);
        }
    }

    fn forget_idle(&mut self, key: &ObjectKey) {
        if self.apps.get(key).is_some_and(|app| app.at_once == 0 && app.waiting.is_empty()) {
            self.apps.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn app(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    #[tokio::test]
    async fn one_apps_load_leaves_room_for_another() {
        let admission = Arc::new(Admission::default());
        let mut places = Vec::new();
        for _ in 0..OF_ONE_APP {
            places.push(admission.enter(&app("busy"), None).await.unwrap());
        }
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                let admission = Arc::clone(&admission);
                tokio::spawn(async move { admission.enter(&app("busy"), None).await.map(drop) })
            })
            .collect();
        while admission.load().1 < QUEUE {
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.enter(&app("busy"), None).await.unwrap_err(), Crowded, "its queue is bounded");
        let began = Instant::now();
        drop(admission.enter(&app("other"), None).await.unwrap());
        assert!(began.elapsed() < Duration::from_secs(1));
        places.clear();
        for waited in waiting {
            assert_eq!(waited.await.unwrap(), Ok(()));
        }
        assert_eq!(admission.load(), (0, 0));
        assert!(admission.queues().apps.is_empty(), "nothing is remembered of who is gone");
    }

    #[tokio::test]
    async fn apps_take_turns_at_a_rate_that_all_share() {
        let admission = Arc::new(Admission::default());
        let rate = RateLimit { requests_per_second: 20, burst: Some(1) };
        let crowd: Vec<_> = (0..200)
            .map(|_| {
                let (admission, rate) = (Arc::clone(&admission), rate.clone());
                tokio::spawn(async move { admission.enter(&app("busy"), Some(&rate)).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        for _ in 0..3 {
            admission.enter(&app("other"), Some(&rate)).await.map(drop).unwrap();
        }
        let mut refused = 0;
        for one in crowd {
            refused += usize::from(one.await.unwrap().is_err());
        }
        assert!((170..200).contains(&refused), "{refused} of 200 were refused");
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_takes_no_place() {
        let admission = Arc::new(Admission::default());
        let mut places = Vec::new();
        for _ in 0..OF_ONE_APP {
            places.push(admission.enter(&app("a"), None).await.unwrap());
        }
        let gone = timeout(Duration::from_millis(10), admission.enter(&app("a"), None)).await;
        assert!(gone.is_err());
        places.clear();
        assert_eq!(admission.load().0, 0);
        drop(admission.enter(&app("a"), None).await.unwrap());
    }
}
