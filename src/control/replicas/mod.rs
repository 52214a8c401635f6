//! Which replicas of the proxy serve what was compiled: `Programmed`, and `served: 3/3`.
//!
//! | file | what |
//! |---|---|
//! | `endpoints.rs` | where the ready replicas are: the EndpointSlices of a Service, or a list |
//! | `poll.rs` | what one replica tells at its `/programmed` |
//! | `count.rs` | how many serve each object, and when that is worth telling. Pure |
//!
//! The operator asks, and no replica writes anything: so the proxy's Role has no write verb.

mod count;
mod endpoints;
mod poll;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::count::{Counter, Told};
pub use self::endpoints::{Proxies, ProxiesInvalid};
use self::poll::{Heard, Poller};
pub use self::poll::{ReplicaError, Token};
use super::Serving;
use crate::outbound::EhrOutcomes;
use crate::snapshot::digest::Digests;
use crate::snapshot::{Published, Snapshot};

/// How long the first count waits for replicas that are known and have not answered: an operator that was restarted
/// must not tell for a moment that nothing is served.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

/// Follows the replicas.
pub struct Replicas {
    proxies: Proxies,
    client: Client,
    token: Token,
    outcomes: Arc<EhrOutcomes>,
}

impl Replicas {
    /// Asks the replicas of `proxies`. What EHRs said to them is recorded among `outcomes`.
    pub fn new(proxies: Proxies, client: Client, token: Token, outcomes: Arc<EhrOutcomes>) -> Self {
        Self { proxies, client, token, outcomes }
    }

    /// Counts until `stop`. Returns once there is a first count.
    pub async fn start(
        self,
        mut published: watch::Receiver<Option<Arc<Published>>>,
        stop: CancellationToken,
    ) -> watch::Receiver<Serving> {
        let (sender, receiver) = watch::channel(Serving::of_nobody());
        let (first, told) = tokio::sync::oneshot::channel();
        let addresses = self.proxies.follow(self.client, stop.clone());
        let state = State {
            token: self.token,
            outcomes: self.outcomes,
            heard: HashMap::new(),
            pollers: HashMap::new(),
            tasks: JoinSet::new(),
            counter: Counter::default(),
            own: Arc::default(),
            snapshot: None,
        };
        let task = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = state.run(addresses, &mut published, sender, first) => {}
            }
        };
        tokio::spawn(task);
        // Closed without a word only when everything ends.
        let _ = told.await;
        receiver
    }
}

/// What is known of the replicas.
struct State {
    token: Token,
    outcomes: Arc<EhrOutcomes>,
    /// By address; `None`: it was asked and has not answered.
    heard: HashMap<String, Option<Told>>,
    pollers: HashMap<String, AbortHandle>,
    tasks: JoinSet<()>,
    counter: Counter,
    own: Arc<Digests>,
    snapshot: Option<Arc<Snapshot>>,
}

impl State {
    async fn run(
        mut self,
        mut addresses: watch::Receiver<Option<Vec<String>>>,
        published: &mut watch::Receiver<Option<Arc<Published>>>,
        sender: watch::Sender<Serving>,
        first: tokio::sync::oneshot::Sender<()>,
    ) {
        let (tell, mut told) = mpsc::channel(16);
        let mut first = Some(first);
        let wait_until = Instant::now() + FIRST_ANSWERS;
        loop {
            if let Some(addresses) = addresses.borrow_and_update().clone() {
                self.follow(&addresses, &tell);
            }
            let newest = published.borrow_and_update().clone();
            self.take_over(newest).await;
            let is_known = addresses.borrow().is_some() && self.heard.values().all(Option::is_some);
            let again = if first.is_none() || is_known || Instant::now() >= wait_until {
                let again = self.count(&sender);
                if let Some(first) = first.take() {
                    let _ = first.send(());
                }
                again
            } else {
                Some(wait_until)
            };
            let pause = async {
                match again {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = addresses.changed() => if changed.is_err() { return },
                changed = published.changed() => if changed.is_err() { return },
                Some(heard) = told.recv() => self.hear(heard),
                () = pause => {}
            }
            while let Ok(heard) = told.try_recv() {
                self.hear(heard);
            }
        }
    }

    /// Asks the replicas that are new, and no longer those that are gone.
    fn follow(&mut self, addresses: &[String], tell: &mpsc::Sender<Heard>) {
        self.heard.retain(|address, _| addresses.contains(address));
        self.pollers.retain(|address, poller| {
            let stays = addresses.contains(address);
            if !stays {
                poller.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for address in addresses {
            if !self.pollers.contains_key(address) {
                let poller = Poller::new(address.clone(), self.token.clone());
                self.pollers.insert(address.clone(), self.tasks.spawn(poller.run(tell.clone())));
                self.heard.insert(address.clone(), None);
            }
        }
    }

    async fn take_over(&mut self, published: Option<Arc<Published>>) {
        let Some(published) = published else { return };
        if self.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, &published.snapshot)) {
            return;
        }
        self.snapshot = Some(Arc::clone(&published.snapshot));
        if let Ok(own) = tokio::task::spawn_blocking(move || published.digests()).await {
            self.own = own;
        }
    }

    fn hear(&mut self, heard: Heard) {
        let Some(known) = self.heard.get_mut(&heard.address) else { return };
        let Some(programmed) = heard.programmed else {
            *known = None;
            return;
        };
        *known = Some(Told::of(programmed.objects));
        let Some(snapshot) = &self.snapshot else { return };
        for (uid, outcome) in programmed.outcomes {
            let is_newer = self.outcomes.of(&uid).is_none_or(|known| known.at < outcome.at);
            if let Some(activation) = snapshot.activation_by_uid(&uid).filter(|_| is_newer) {
                self.outcomes.record(activation, outcome);
            }
        }
    }

    /// Tells the count where it is worth it; when to count again though nothing has changed.
    fn count(&mut self, sender: &watch::Sender<Serving>) -> Option<Instant> {
        let replicas: Vec<Option<&Told>> = self.heard.values().map(Option::as_ref).collect();
        let (serving, again) = self.counter.count(&self.own, &replicas, Instant::now());
        sender.send_if_modified(|told| {
            let is_news = *told != serving;
            *told = serving;
            is_news
        });
        again
    }
}
