//! The control plane, the same for a cluster and a directory: makes keys, proves them, probes, rotates, and tells what is
//! so.
//!
//! ```text
//! Published ─┐
//! findings ──┼─► pass (pure: rotate, statuses, plan) ─► sink.write ─► actions ─► findings ─► next pass
//! clock ─────┘
//! ```
//! A pass reads nothing but its arguments, so what the control plane does can be tested as tables. Everything that waits
//! (keys being made, EHRs being asked) runs beside the loop and reports back to it.

pub mod act;
pub mod findings;
pub mod lease;
pub mod pass;
pub mod plan;
pub mod replicas;
pub mod rotate;
pub mod sink;
pub mod status;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::act::{Actor, Done};
use self::findings::Findings;
use self::pass::{Pass, pass};
use self::plan::{Action, missing};
use self::rotate::Step;
use self::sink::{Recorded, Sink};
use self::status::LAST_HANDLED_PROBE;
pub use self::status::{ObjectStatus, Serving, Statuses};
use crate::outbound::{Clock, EhrClient, EhrTokens};
use crate::snapshot::{Kind, ObjectKey, ObjectReference, Published};
use crate::values::pace::Pace;

/// Between two passes: what happens together is told together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Thinking takes a quarter of the time at most, however many objects there are, and less while something happens all
/// the time. Waiting for an API server to take what was thought is none of it: thousands of statuses take minutes to
/// write, and there would be nothing done after that.
const PACE: Pace = Pace::new(3, 40, Duration::from_secs(1));
/// Without anything to do: time may pass differently than planned (a machine that slept, a clock that was set).
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the control plane works with.
#[derive(Clone)]
pub struct Tools {
    /// Where it writes.
    pub sink: Arc<dyn Sink>,
    /// What it calls the world with.
    pub client: EhrClient,
    /// What it asks EHRs with: the proxy's own, so that a probe's token is there for the first request.
    pub tokens: EhrTokens,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How many proxies serve what was compiled.
    pub serving: watch::Receiver<Serving>,
}

/// The control plane, before it runs.
pub struct Control {
    tools: Tools,
    inputs: watch::Receiver<Option<Arc<Published>>>,
    probes: mpsc::Receiver<Probe>,
    statuses: watch::Sender<Arc<Statuses>>,
    first_keys: watch::Sender<bool>,
    recorded: Recorded,
}

/// What others see of a control plane that runs. A clone sees the same.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    statuses: watch::Receiver<Arc<Statuses>>,
    first_keys: watch::Receiver<bool>,
    probes: mpsc::Sender<Probe>,
}

/// A person wants an EHR asked now.
#[derive(Debug)]
struct Probe {
    activation: ObjectKey,
    answer: oneshot::Sender<Option<ObjectStatus>>,
}

impl ControlHandle {
    /// The statuses of all objects, by kind, namespace and name; a new value whenever one changes.
    pub fn statuses(&self) -> watch::Receiver<Arc<Statuses>> {
        self.statuses.clone()
    }

    /// True once every key that the first snapshot asks for is made, or told why not.
    pub fn first_keys(&self) -> watch::Receiver<bool> {
        self.first_keys.clone()
    }

    /// Asks the EHR of this activation now, and tells its status after that. `None`: there is no such activation, or the
    /// control plane has stopped.
    pub async fn probe_now(&self, activation: ObjectKey) -> Option<ObjectStatus> {
        let (answer, answered) = oneshot::channel();
        self.probes.send(Probe { activation, answer }).await.ok()?;
        answered.await.ok().flatten()
    }
}

/// What a control plane that runs knows.
#[derive(Default)]
struct State {
    findings: Findings,
    recorded: Recorded,
    /// Whether what is recorded has reached the sink.
    is_written: bool,
    /// Whether something was settled that is not told yet.
    is_due: bool,
    busy: HashSet<Action>,
    waiting: Vec<Probe>,
    first_keys_settled: bool,
}

/// What comes back from work beside the loop.
struct Finished {
    action: Action,
    done: Done,
}

impl Control {
    /// A control plane that goes on from what was recorded before.
    pub fn new(
        tools: Tools,
        inputs: watch::Receiver<Option<Arc<Published>>>,
        recorded: Recorded,
    ) -> (Self, ControlHandle) {
        let (statuses, seen_statuses) = watch::channel(Arc::new(recorded.objects.clone()));
        let (first_keys, seen_first_keys) = watch::channel(false);
        let (sender, probes) = mpsc::channel(64);
        let handle = ControlHandle { statuses: seen_statuses, first_keys: seen_first_keys, probes: sender };
        (Self { tools, inputs, probes, statuses, first_keys, recorded }, handle)
    }

    /// Runs until `shutdown`, or until nothing is published any more.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { tools, mut inputs, mut probes, statuses, first_keys, recorded } = self;
        let actor =
            Actor::new(Arc::clone(&tools.sink), tools.client.clone(), tools.tokens.clone(), Arc::clone(&tools.clock));
        let mut heard = tools.tokens.outcomes().watch();
        let mut serving = tools.serving.clone();
        let mut work: JoinSet<Finished> = JoinSet::new();
        let mut state = State { recorded, is_written: true, ..State::default() };
        let (mut pace, mut waited) = (PACE, Duration::ZERO);
        loop {
            let mut thought = Duration::ZERO;
            let published = inputs.borrow_and_update().clone();
            let next = match &published {
                Some(published) => {
                    heard.mark_unchanged();
                    let serving = serving.borrow_and_update().clone();
                    let started = Instant::now();
                    let pass = look(&tools, &mut state, published, serving).await;
                    thought = started.elapsed();
                    tell(&tools, &mut state, pass.recorded, &statuses).await;
                    start(&mut state, &pass.actions, &inputs, &actor, &mut work);
                    settle_first_keys(&mut state, published, &first_keys);
                    answer_probes(&mut state, published);
                    pass.next
                }
                None => None,
            };
            // Whatever happens meanwhile is gathered for the next pass.
            let pause = SHORTEST_PAUSE.max(pace.pause(waited, thought));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => break,
            }
            let wait = match (std::mem::take(&mut state.is_due), state.is_written) {
                (true, _) => Duration::ZERO,
                (false, true) => until(next, tools.clock.now()),
                (false, false) => Duration::from_secs(1),
            };
            let waiting_since = Instant::now();
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = inputs.changed() => if changed.is_err() { break },
                _ = heard.changed() => {}
                _ = serving.changed(), if serving.has_changed().is_ok() => {}
                Some(finished) = work.join_next() => take(&mut state, finished),
                Some(probe) = probes.recv() => want(&mut state, probe),
                () = tokio::time::sleep(wait) => {}
            }
            waited = waiting_since.elapsed();
            while let Some(finished) = work.try_join_next() {
                take(&mut state, finished);
            }
            while let Ok(probe) = probes.try_recv() {
                want(&mut state, probe);
            }
        }
        // What is under way is dropped: nobody has seen a key that is not kept yet.
        work.abort_all();
        while work.join_next().await.is_some() {}
    }
}

/// A pass, and which of its actions are new.
struct Looked {
    recorded: Recorded,
    actions: Vec<Action>,
    next: Option<Timestamp>,
}

/// Looks at everything, on a blocking thread: with thousands of objects it takes a while.
async fn look(tools: &Tools, state: &mut State, published: &Arc<Published>, serving: Serving) -> Looked {
    let mut findings = std::mem::take(&mut state.findings);
    let outcomes = tools.tokens.outcomes();
    outcomes.retain(|uid| published.snapshot.activation_by_uid(uid).is_some());
    findings.hear(outcomes.all());
    let (published, previous, now) = (Arc::clone(published), state.recorded.clone(), tools.clock.now());
    let asking: HashSet<ObjectKey> = state.busy.iter().filter_map(|action| action.asked().cloned()).collect();
    let pass = tokio::task::spawn_blocking(move || {
        findings.see_requests(&published, &asking, |activation| answered_before(&previous, activation));
        findings.forget_the_gone(&published, now);
        let pass = pass(&published, &findings, &serving, &previous, now);
        (findings, pass)
    });
    let (findings, Pass { recorded, plan, steps }) = match pass.await {
        Ok(passed) => passed,
        Err(error) => {
            tracing::error!(%error, "a pass of the control plane failed; what was told stays");
            return Looked { recorded: state.recorded.clone(), actions: Vec::new(), next: None };
        }
    };
    state.findings = findings;
    for (activation, step) in steps {
        match step {
            Step::Signs { thumbprint, revision } => {
                tracing::info!(%activation, thumbprint, revision, "the EHR accepted this key: it signs from now on");
            }
            Step::Retired { thumbprint, revision } => {
                tracing::info!(%activation, thumbprint, revision, "this key left the key set; its Secret stays");
            }
        }
    }
    Looked { recorded, actions: plan.actions, next: plan.next }
}

/// The request for a probe that an activation's status says was answered.
fn answered_before(previous: &Recorded, activation: &ObjectKey) -> Option<String> {
    let object = ObjectReference::new(Kind::Activation, activation.clone());
    previous.of(&object)?.text(LAST_HANDLED_PROBE).map(str::to_owned)
}

/// Writes and shows what changed, if anything did.
async fn tell(tools: &Tools, state: &mut State, recorded: Recorded, statuses: &watch::Sender<Arc<Statuses>>) {
    if recorded == state.recorded && state.is_written {
        return;
    }
    let written = tools.sink.write(&recorded).await;
    if let Err(error) = &written {
        tracing::error!(%error, "what the control plane found out could not be written; it is tried again");
    }
    state.is_written = written.is_ok();
    if recorded.objects != state.recorded.objects {
        statuses.send_replace(Arc::new(recorded.objects.clone()));
    }
    state.recorded = recorded;
}

fn start(
    state: &mut State,
    actions: &[Action],
    inputs: &watch::Receiver<Option<Arc<Published>>>,
    actor: &Actor,
    work: &mut JoinSet<Finished>,
) {
    for action in actions {
        if !state.busy.insert(action.clone()) {
            continue;
        }
        if let Action::AskEhr(activation) = action {
            state.findings.asked_for.remove(activation);
        }
        let (actor, action, newest) = (actor.clone(), action.clone(), inputs.clone());
        work.spawn(async move { Finished { done: actor.perform(action.clone(), newest).await, action } });
    }
    // What is wanted of an activation that cannot be asked is done with; that it is, the next pass tells.
    let asked = |key: &ObjectKey| state.busy.contains(&Action::AskEhr(key.clone()));
    let wanted: BTreeSet<ObjectKey> = state.findings.asked_for.iter().filter(|key| asked(key)).cloned().collect();
    state.is_due |= wanted.len() < state.findings.asked_for.len();
    state.findings.asked_for = wanted;
}

fn take(state: &mut State, finished: Result<Finished, tokio::task::JoinError>) {
    match finished {
        Ok(Finished { action, done }) => {
            state.busy.remove(&action);
            done.tell(&mut state.findings);
        }
        // Its action stays busy: what panics once would panic again.
        Err(error) => tracing::error!(%error, "an action of the control plane failed"),
    }
}

fn want(state: &mut State, probe: Probe) {
    state.findings.asked_for.insert(probe.activation.clone());
    state.waiting.push(probe);
}

/// Tells those who wait what became of their probe: once the EHR was asked, or if it will not be.
fn answer_probes(state: &mut State, published: &Published) {
    let waiting = std::mem::take(&mut state.waiting);
    for probe in waiting {
        // What speaks for this or that reason of a refusal is part of the answer.
        let asked_for = [Action::AskEhr(probe.activation.clone()), Action::Examine(probe.activation.clone())];
        let is_under_way = asked_for.iter().any(|action| state.busy.contains(action));
        let exists = published.snapshot.activations.contains_key(&probe.activation);
        if exists && is_under_way {
            state.waiting.push(probe);
            continue;
        }
        let object = ObjectReference::new(Kind::Activation, probe.activation);
        let status = state.recorded.of(&object).map(|status| ObjectStatus::clone(status));
        // Whoever asked may have gone; that is their affair.
        let _ = probe.answer.send(status);
    }
}

fn settle_first_keys(state: &mut State, published: &Published, first_keys: &watch::Sender<bool>) {
    if state.first_keys_settled {
        return;
    }
    let told = |secret: &ObjectKey| state.findings.keys.get(secret).is_some_and(|trouble| trouble.message.is_some());
    if missing(published).iter().all(|(secret, _)| told(secret)) {
        state.first_keys_settled = true;
        first_keys.send_replace(true);
    }
}

fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    wait.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
