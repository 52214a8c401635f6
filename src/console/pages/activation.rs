//! An activation: how far it has come, what it hangs on, what is to be registered at the EHR, and what the EHR says.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::parts::{Cause, Fact, Link, chain, facts, moment, resource};
use crate::api::activation::{DroppedScope, KeyState, KeyStatus};
use crate::api::common::condition;
use crate::api::{ActivationStatus, ConditionStatus};
use crate::console::Shared;
use crate::console::access::Visitor;
use crate::console::error::PageError;
use crate::console::frame::{Frame, Section, base};
use crate::console::model::Model;
use crate::console::plot::Plot;
use crate::console::respond::versioned;
use crate::console::state::State;
use crate::snapshot::live::LiveObject;
use crate::snapshot::{Kind, ObjectReference};
use crate::values::code::Code;

/// The name in the path.
#[derive(Deserialize)]
pub struct Named {
    /// It.
    pub name: String,
}

#[derive(Template)]
#[template(path = "console/activation.html")]
struct Page {
    frame: Frame,
    name: String,
    state: State,
    reason: String,
    app: Option<Link>,
    gateway: Option<Link>,
    cause: Option<Cause>,
    next_step: Option<String>,
    likely_causes: Vec<String>,
    ladder: Vec<Rung>,
    chain: Vec<Link>,
    ehr: Option<Ehr>,
    served: Option<String>,
    jwks_url: Option<String>,
    certificate: Option<String>,
    callback_url: Option<String>,
    launch_url: Option<String>,
    keys: Vec<Key>,
    rotation: Option<String>,
    probes: Option<Plot>,
    facts: Vec<Fact>,
    connection: Option<crate::api::activation::Connection>,
    dropped: Vec<DroppedScope>,
}

/// The EHR at the end of the chain.
struct Ehr {
    address: String,
    state: State,
}

/// A step on the way to the first call.
struct Rung {
    title: &'static str,
    text: String,
    state: State,
    /// The step at which it stands.
    is_current: bool,
}

struct Key {
    revision: u32,
    state: &'static str,
    mark: State,
    thumbprint: String,
    fingerprint: Option<String>,
    not_after: Option<String>,
    signing_since: Option<String>,
    secret_name: String,
}

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    Path(Named { name }): Path<Named>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let live = find(&model, &visitor, &name)?;
    let target = resource(&live.object);
    let frame = Frame::new(&shared, &model, &visitor, Section::Activations, &name)
        .kubectl(&format!("get {target} -o yaml"))
        .kubectl(&format!("wait --for=condition=Ready {target}"))
        .hearthgate(&shared, &format!("status {name}"))
        .hearthgate(&shared, &format!("pem {name} --output {name}.pem"))
        .hearthgate(&shared, &format!("probe {name}"));
    versioned(&headers, &frame.tag.clone(), || Ok(page(&model, live, frame).render()?))
}

fn find<'model>(model: &'model Model, visitor: &Visitor, name: &str) -> Result<&'model LiveObject, PageError> {
    model.get(Kind::Activation, &visitor.namespace, name).ok_or_else(|| PageError::NoObject {
        kind: "activation",
        namespace: visitor.namespace.clone(),
        name: name.to_owned(),
    })
}

fn page(model: &Model, live: &LiveObject, frame: Frame) -> Page {
    let status: ActivationStatus = live.status_as();
    let name = live.object.key.name.clone();
    let link = |kind| live.reference(kind).map(|object| Link::to(model, object));
    let ready = live.condition(condition::READY);
    let probes = live.condition(condition::EHR_AUTHENTICATED).map(|_| {
        let track = model.history.of(&live.object, condition::EHR_AUTHENTICATED);
        Plot::of(&*track, "EHR accepts the key", Timestamp::now())
    });
    // The next step is told once: here where the fault is, else at the cause.
    let mut cause = Cause::of(model, live);
    let is_elsewhere = model.live.root_cause(live).is_some_and(|cause| *cause.object() != live.object);
    if let Some(own) = cause.as_mut().filter(|_| !is_elsewhere && status.next_step.is_some()) {
        own.remedy = None;
    }
    Page {
        state: State::of(live),
        reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
        app: link(Kind::App),
        gateway: link(Kind::Gateway),
        cause,
        ladder: ladder(live, &status),
        chain: chain(model, live),
        ehr: ehr(model, live),
        rotation: rotation(&status.keys),
        keys: status.keys.iter().map(key).collect(),
        probes,
        facts: facts(live),
        certificate: status
            .certificate_pem
            .map(|_| format!("{}/activations/{name}/certificate.pem", base(&live.object.key.namespace))),
        likely_causes: status.likely_causes.into_iter().map(|cause| cause.hint).collect(),
        next_step: status.next_step.filter(|_| !is_elsewhere),
        served: status.served,
        jwks_url: status.jwks_url,
        callback_url: status.callback_url,
        launch_url: status.launch_url,
        connection: status.connection,
        dropped: status.dropped_scopes,
        name,
        frame,
    }
}

/// The EHR behind the adapter, as far as the adapter knows it.
fn ehr(model: &Model, live: &LiveObject) -> Option<Ehr> {
    let adapter = model.live.chain(live).into_iter().find(|object| object.kind == Kind::DataAdapter)?;
    of_adapter(model, adapter).map(|(address, state)| Ehr { address, state })
}

/// The base URL of an adapter's EHR, and whether it was reached.
pub fn of_adapter(model: &Model, adapter: &ObjectReference) -> Option<(String, State)> {
    let address = model.resources.as_ref()?.data_adapters.get(&adapter.key)?.spec.fhir_base_url.0.clone();
    let reached = model.live.get(adapter).and_then(|live| live.condition(condition::REACHABLE));
    let state = match reached.map(|reached| reached.status) {
        Some(ConditionStatus::True) => State::Ready,
        Some(ConditionStatus::False) => State::Failing,
        Some(ConditionStatus::Unknown) | None => State::Progress,
    };
    Some((address, state))
}

/// Create the key → register it at the EHR → the EHR accepts → the first call.
fn ladder(live: &LiveObject, status: &ActivationStatus) -> Vec<Rung> {
    let of = |kind| live.condition(kind);
    let holds = |kind| of(kind).map(|condition| condition.status == ConditionStatus::True);
    let said = |kind| of(kind).map(|condition| condition.message.clone()).unwrap_or_default();
    let key = holds(condition::KEY_READY);
    let accepted = holds(condition::EHR_AUTHENTICATED);
    let is = |code: Code| of(condition::EHR_AUTHENTICATED).is_some_and(|told| told.reason == code.reason());
    let mut rungs = Vec::new();
    let mut rung = |title, text: String, done: Option<bool>| {
        let state = match done {
            Some(true) => State::Ready,
            Some(false) => State::Action,
            None => State::Off,
        };
        rungs.push(Rung { title, text, state, is_current: false });
    };
    match key {
        Some(true) => rung("Key created", newest(&status.keys), key),
        Some(false) => rung("Key created", said(condition::KEY_READY), key),
        None => rung("Key created", "This way to authenticate needs no key.".into(), None),
    }
    match accepted {
        None => rung("Registered at the EHR", "This way to authenticate asks the EHR for no token.".into(), None),
        Some(true) => rung("Registered at the EHR", "The EHR knows the credentials.".into(), accepted),
        Some(false) if is(Code::ClientIdMissing) => {
            rung("Registered at the EHR", "The client ID that the EHR gives is still missing.".into(), accepted);
        }
        Some(false) if is(Code::Refused) => {
            rung("Registered at the EHR", "They were accepted before.".into(), Some(true));
        }
        Some(false) => {
            rung("Registered at the EHR", "Not yet, as far as the EHR's answer tells.".into(), accepted);
        }
    }
    match accepted {
        None => rung("EHR accepts", "Nothing to accept.".into(), None),
        Some(_) => rung("EHR accepts", said(condition::EHR_AUTHENTICATED), accepted),
    }
    let ready = live.is_ready();
    let text = if ready { "The app can call." } else { "Once the steps before are done." };
    rung("First call", text.into(), Some(ready));
    if let Some(current) = rungs.iter_mut().find(|rung| rung.state == State::Action) {
        current.is_current = true;
    }
    rungs
}

fn newest(keys: &[KeyStatus]) -> String {
    keys.last().map(|key| format!("Revision {}, {}.", key.revision, state_of_key(key.state).0)).unwrap_or_default()
}

const fn state_of_key(state: KeyState) -> (&'static str, State) {
    match state {
        KeyState::Pending => ("published, not yet accepted", State::Action),
        KeyState::Signing => ("signing", State::Ready),
        KeyState::Retiring => ("retiring, still published", State::Progress),
        KeyState::Retired => ("retired", State::Off),
        KeyState::Withdrawn => ("withdrawn", State::Off),
        KeyState::Lost => ("lost", State::Failing),
    }
}

fn key(key: &KeyStatus) -> Key {
    let (state, mark) = state_of_key(key.state);
    let as_moment = |text: &String| text.parse().map_or_else(|_| text.clone(), moment);
    Key {
        revision: key.revision,
        state,
        mark,
        thumbprint: key.thumbprint.clone(),
        fingerprint: key.certificate_fingerprint.clone(),
        not_after: key.not_after.as_ref().map(as_moment),
        signing_since: key.signing_since.as_ref().map(as_moment),
        secret_name: key.secret_name.clone(),
    }
}

/// Where a rotation stands, in one sentence. `None`: there is one key, and nothing moves.
fn rotation(keys: &[KeyStatus]) -> Option<String> {
    let in_state = |state| keys.iter().rev().find(|key| key.state == state);
    let signing = in_state(KeyState::Signing);
    match (signing, in_state(KeyState::Pending), in_state(KeyState::Retiring)) {
        (Some(signing), Some(pending), _) if pending.revision > signing.revision => Some(format!(
            "Rotating: revision {} is published and waits for the EHR to accept it; revision {} goes on signing.",
            pending.revision, signing.revision
        )),
        (Some(signing), _, Some(retiring)) => Some(format!(
            "Rotated: revision {} signs; revision {} stays published for 48 hours after the move, since EHRs cache key sets.",
            signing.revision, retiring.revision
        )),
        (Some(signing), _, None) => {
            Some(format!("Revision {} signs. Raise keyPair.revision in git to rotate.", signing.revision))
        }
        (None, ..) => None,
    }
}

/// The certificate as a file to upload at the EHR.
pub async fn certificate(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    Path(Named { name }): Path<Named>,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let status: ActivationStatus = find(&model, &visitor, &name)?.status_as();
    let pem = status.certificate_pem.ok_or_else(|| PageError::NoCertificate(name.clone()))?;
    // Names of objects are DNS names: nothing in them needs quoting.
    let disposition = format!("attachment; filename=\"{name}.pem\"");
    let headers = [
        (CONTENT_TYPE, "application/x-pem-file".to_owned()),
        (CONTENT_DISPOSITION, disposition),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, pem).into_response())
}
