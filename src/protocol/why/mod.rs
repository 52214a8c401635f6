//! Whether a request would be let through, and which words of the configuration decide that: the proxy's own decisions,
//! asked one after the other, with their causes looked up for a person.
//!
//! Nothing is decided here. Where a decision of [`route`], [`client_credentials`], [`fhir`] or [`private_api`] says no,
//! this finds out who said so.

mod layers;
mod request;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;

pub use request::{RequestLine, RequestLineError};

use super::fhir::{self, Access, Denial, Parts};
use super::oauth::authorize::{Fault, user_of};
use super::oauth::user_scopes::Given;
use super::oauth::{OAuthError, client_credentials, user_scopes};
use super::private_api::{self, PrivateApiRefused};
use super::route::{self, Endpoint, RouteError};
use crate::snapshot::{
    Activation, Compiled, EhrAuthentication, Finding, Gateway, Kind, NotLive, ObjectKey, ObjectReference,
};
use crate::values::code::Code;
use crate::values::scope::ScopeSet;
use crate::values::url::EndpointUrl;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'question> {
    /// The app.
    pub app: &'question ObjectKey,
    /// The gateway.
    pub gateway: &'question ObjectKey,
    /// What the app would send.
    pub request: &'question RequestLine,
    /// What its token was asked for; `None`: all that may be granted.
    pub scope: Option<&'question str>,
    /// Where a user stands behind the token: the patient whose record the launch is about.
    pub patient: Option<&'question str>,
    /// The moment.
    pub now: Timestamp,
}

/// What would happen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it would pass.
    pub outcome: Outcome,
    /// The words of the configuration that matter. Of a refusal, the first that denies it decides.
    pub marks: Vec<Mark>,
}

/// Whether a request would pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It would be sent to the EHR, or answered.
    Permitted(String),
    /// It would be refused.
    Denied {
        /// The code of the refusal.
        code: Code,
        /// Why, for a person.
        message: String,
    },
}

/// A place in the configuration, and where it stands in the matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The object.
    pub object: ObjectReference,
    /// The field, such as `spec.scopes[1]`; where it is absent, its absence matters.
    pub field: String,
    /// What it says, in short.
    pub says: String,
    /// What it does about the request.
    pub stance: Stance,
}

/// What a place in the configuration does about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stance {
    /// Lets it through.
    Permits,
    /// Does not.
    Denies,
}

impl Answer {
    /// The place that decides; `None` where the request itself is at fault, or a whole object is missing.
    pub fn decisive(&self) -> Option<&Mark> {
        let wanted = match self.outcome {
            Outcome::Permitted(_) => Stance::Permits,
            Outcome::Denied { .. } => Stance::Denies,
        };
        self.marks.iter().find(|mark| mark.stance == wanted)
    }

    fn permitted(message: impl Into<String>, marks: Vec<Mark>) -> Self {
        Self { outcome: Outcome::Permitted(message.into()), marks }
    }

    fn denied(code: Code, message: impl Into<String>, marks: Vec<Mark>) -> Self {
        Self { outcome: Outcome::Denied { code, message: message.into() }, marks }
    }
}

impl Mark {
    fn denies(kind: Kind, key: &ObjectKey, field: impl Into<String>, says: impl Into<String>) -> Self {
        let object = ObjectReference::new(kind, key.clone());
        Self { object, field: field.into(), says: says.into(), stance: Stance::Denies }
    }
}

/// Answers the question. App and gateway exist, though they may have faults.
pub fn why(world: &Compiled<'_>, question: &Question<'_>) -> Answer {
    let Some(gateway) = world.snapshot.gateways.get(question.gateway) else {
        let object = ObjectReference::new(Kind::Gateway, question.gateway.clone());
        return at_fault(world, &object, Code::GatewayNotServed);
    };
    let Ok(issuer) = EndpointUrl::parse(&gateway.issuer) else {
        return Answer::denied(Code::GatewayUnknown, RouteError::GatewayUnknown.to_string(), Vec::new());
    };
    let Some((path, query)) = question.request.at(&gateway.issuer, issuer.path_without_slash()) else {
        let message = format!("the URL is not one of this gateway, whose public URL is {}", gateway.issuer);
        return Answer::denied(Code::GatewayUnknown, message, Vec::new());
    };
    let endpoint = match route::route(world.snapshot, &issuer.authority(), &path) {
        Ok(endpoint) => endpoint,
        Err(error) => return Answer::denied(error.code(), error.to_string(), Vec::new()),
    };
    if !endpoint.allows(question.request.method()) {
        let message = format!("this endpoint takes {} only", endpoint.allowed_methods());
        return Answer::denied(Code::MethodRefused, message, Vec::new());
    }
    match endpoint {
        Endpoint::Fhir { rest, .. } => {
            let parts = Parts {
                method: question.request.method(),
                path: rest,
                query,
                content_type: question.request.content_type(),
                if_none_exist: None,
            };
            with_access(world, gateway, question, |activation, access| {
                of_fhir(world, question, activation, access, &parts)
            })
        }
        Endpoint::PrivateApi { rest, .. } => with_access(world, gateway, question, |activation, access| {
            of_private_api(world, question, activation, access.scopes, rest)
        }),
        Endpoint::Token(_) => with_token(world, gateway, question, |activation, scopes| {
            let marks = layers::marks(world, activation, |own| !own.without_user().is_empty());
            Answer::permitted(format!("a token is issued for {scopes}"), marks)
        }),
        Endpoint::Introspect(_) => Answer::permitted(
            "a client that is activated here may ask about a token; it proves who it is itself",
            Vec::new(),
        ),
        Endpoint::Revoke(_) => {
            Answer::permitted("every client may revoke its own tokens; it proves who it is itself", Vec::new())
        }
        Endpoint::Authorize(_) | Endpoint::Launch { .. } => of_launch(world, question),
        Endpoint::Callback(_) => {
            Answer::permitted("the EHR sends users back here; which launch it is decides the rest", Vec::new())
        }
        Endpoint::Jwks(_)
        | Endpoint::SmartConfiguration(_)
        | Endpoint::Metadata(_)
        | Endpoint::AuthorizationServerMetadata(_)
        | Endpoint::OpenIdConfiguration(_)
        | Endpoint::KeySet(_) => Answer::permitted("this document is open to everybody, without a token", Vec::new()),
    }
}

/// Whether users of the EHR may launch the app.
fn of_launch(world: &Compiled<'_>, question: &Question<'_>) -> Answer {
    let Some(activation) = world.snapshot.activation_of(question.gateway, question.app) else {
        return not_activated(world, question);
    };
    if let Err(not_live) = activation.live_at(question.now) {
        let error = OAuthError::NotLive(not_live);
        return no_token(world, question, &error);
    }
    if user_of(activation).is_none() {
        let mark = Mark::denies(
            Kind::Activation,
            &activation.key,
            "spec.ehrAuthentication.type",
            "System: no user of the EHR launches the app",
        );
        return Answer::denied(Code::ClientUnauthorized, Fault::SystemOnly.to_string(), vec![mark]);
    }
    let scopes = user_scopes::requested(activation, question.scope);
    let marks = layers::marks(world, activation, |own| !own.is_empty());
    if scopes.is_empty() {
        return Answer::denied(Code::ScopeUnavailable, Fault::ScopeUnavailable.to_string(), marks);
    }
    Answer::permitted(format!("users are sent on to the EHR; it decides what is granted of {scopes}"), marks)
}

/// Goes on with the activation and the scopes that the app's token would hold, if it gets one: of a launch where users
/// stand behind it, else one of its own.
fn with_access(
    world: &Compiled<'_>,
    gateway: &Gateway,
    question: &Question<'_>,
    then: impl FnOnce(&Activation, &Access<'_>) -> Answer,
) -> Answer {
    let activation = world.snapshot.activation_of(question.gateway, question.app);
    let Some(activation) = activation.filter(|activation| user_of(activation).is_some()) else {
        return with_token(world, gateway, question, |activation, scopes| {
            then(activation, &Access { scopes, patient: None })
        });
    };
    if let Err(not_live) = activation.live_at(question.now) {
        return no_token(world, question, &OAuthError::NotLive(not_live));
    }
    let requested = user_scopes::requested(activation, question.scope);
    let scopes = user_scopes::granted(&requested, &launched(question.patient.is_some()));
    if scopes.is_empty() {
        let marks = layers::marks(world, activation, |own| !own.is_empty());
        return Answer::denied(Code::ScopeUnavailable, Fault::ScopeUnavailable.to_string(), marks);
    }
    then(activation, &Access { scopes: &scopes, patient: question.patient })
}

/// A launch to which the EHR gives all that it was asked for.
const fn launched(has_patient: bool) -> Given<'static> {
    Given {
        scope: None,
        has_id_token: true,
        has_refresh_token: true,
        has_patient,
        has_encounter: false,
        is_ehr_launch: true,
    }
}

/// Goes on with the activation and the scopes that the app's token would hold, if it gets one by itself.
fn with_token(
    world: &Compiled<'_>,
    gateway: &Gateway,
    question: &Question<'_>,
    then: impl FnOnce(&Activation, &ScopeSet) -> Answer,
) -> Answer {
    let Some(app) = world.snapshot.apps.get(question.app) else {
        let object = ObjectReference::new(Kind::App, question.app.clone());
        return at_fault(world, &object, Code::ClientAuthenticationFailed);
    };
    match client_credentials::grant(world.snapshot, gateway, app, question.scope, question.now) {
        Ok(grant) => then(&grant.activation, &grant.scopes),
        Err(error) => no_token(world, question, &error),
    }
}

fn no_token(world: &Compiled<'_>, question: &Question<'_>, error: &OAuthError) -> Answer {
    let activation = world.snapshot.activation_of(question.gateway, question.app);
    let marks = match (error, activation) {
        (OAuthError::NotActivated, _) => return not_activated(world, question),
        (OAuthError::NotLive(not_live), Some(activation)) => vec![of_not_live(activation, not_live)],
        (OAuthError::PublicClient, _) => {
            vec![Mark::denies(Kind::App, question.app, "spec.clientType", "Public: it has no credentials of its own")]
        }
        (OAuthError::UserOnly, Some(activation)) => {
            let says = "User: tokens come from a launch with a user only";
            vec![Mark::denies(Kind::Activation, &activation.key, "spec.ehrAuthentication.type", says)]
        }
        (OAuthError::ScopeUnavailable, Some(activation)) => {
            let asked = question.scope.map(|scope| scope.split(' ').filter_map(|word| word.parse().ok()).collect());
            layers::marks(world, activation, |own| {
                let own = own.without_user();
                !asked.as_ref().map_or_else(|| own.clone(), |asked: &ScopeSet| asked.intersect(&own)).is_empty()
            })
        }
        _ => Vec::new(),
    };
    let message = match (error, question.scope) {
        (OAuthError::NotLive(not_live), _) => format!("no token: {not_live}"),
        (OAuthError::ScopeUnavailable, Some(scope)) => format!("no token: nothing of {scope:?} may be granted"),
        (error, _) => format!("no token: {error}"),
    };
    Answer::denied(error.code(), message, marks)
}

fn of_not_live(activation: &Activation, not_live: &NotLive) -> Mark {
    match not_live {
        NotLive::Suspended(object) => Mark::denies(object.kind, &object.key, "spec.suspend", "true"),
        NotLive::NotYet(time) => {
            Mark::denies(Kind::Activation, &activation.key, "spec.notBefore", format!("not before {time}"))
        }
        NotLive::Over(time) => {
            Mark::denies(Kind::Activation, &activation.key, "spec.expiresAt", format!("over since {time}"))
        }
    }
}

/// There is no activation that is served. There may be one with a fault.
fn not_activated(world: &Compiled<'_>, question: &Question<'_>) -> Answer {
    let names_both = |key: &ObjectKey, own: &crate::api::Activation| {
        key.sibling(&own.spec.app_ref.name) == *question.app
            && key.sibling(&own.spec.gateway_ref.name) == *question.gateway
    };
    match world.resources.activations.iter().find(|(key, own)| names_both(key, own)) {
        Some((key, _)) => {
            let object = ObjectReference::new(Kind::Activation, key.clone());
            at_fault(world, &object, Code::ClientUnauthorized)
        }
        None => {
            let (app, gateway) = (&question.app.name, &question.gateway.name);
            let message = format!(
                "no token: no Activation names both App {app} and Gateway {gateway}; `hearthgate new activation {app} {gateway}` writes one"
            );
            Answer::denied(Code::ClientUnauthorized, message, Vec::new())
        }
    }
}

fn of_fhir(
    world: &Compiled<'_>,
    question: &Question<'_>,
    activation: &Activation,
    access: &Access<'_>,
    parts: &Parts<'_>,
) -> Answer {
    let operations = &activation.gateway.operations;
    let interaction = match fhir::understand(parts) {
        Ok(interaction) => interaction,
        Err(denial) => return Answer::denied(denial.code(), denial.to_string(), Vec::new()),
    };
    let is_users = user_of(activation).is_some();
    let held = |own: &ScopeSet| if is_users { user_scopes::of_users(own) } else { own.without_user() };
    let decide = |scopes: &ScopeSet| {
        let access = Access { scopes, patient: access.patient };
        fhir::judge(&access, operations, parts, None).map(|(_, permit)| permit)
    };
    let what = match interaction.resource_type() {
        Some(name) => format!("{} of {name}", interaction.name()),
        None => interaction.name().to_owned(),
    };
    match decide(access.scopes) {
        Ok(permit) => match unready(activation) {
            Some(answer) => answer,
            None => {
                let message = match permit.limits() {
                    Some(limits) => format!("{what}, {limits}"),
                    None => what,
                };
                Answer::permitted(message, layers::marks(world, activation, |own| decide(&held(own)).is_ok()))
            }
        },
        Err(denial) => {
            let marks = match &denial {
                Denial::OperationNotAllowed { .. } => {
                    let listed: Vec<&str> = operations.iter().map(String::as_str).collect();
                    let says = if listed.is_empty() { "nothing".to_owned() } else { listed.join(" ") };
                    vec![Mark::denies(Kind::Gateway, question.gateway, "spec.operations", says)]
                }
                Denial::Scope { .. } => layers::marks(world, activation, |own| decide(&held(own)).is_ok()),
                _ => Vec::new(),
            };
            let message = of_scope(question, &marks, &denial).unwrap_or_else(|| denial.to_string());
            Answer::denied(denial.code(), format!("{what}: {message}"), marks)
        }
    }
}

/// A token that was asked for less than it might hold is to blame itself.
fn of_scope(question: &Question<'_>, marks: &[Mark], denial: &Denial) -> Option<String> {
    let Denial::Scope { wanted, .. } = denial else { return None };
    let nobody_denies = marks.iter().all(|mark| mark.stance == Stance::Permits);
    let asked = question.scope.filter(|_| nobody_denies)?;
    Some(format!("{wanted} is permitted, but the token was asked for {asked:?} only"))
}

/// A request that is permitted, and still cannot be sent: the EHR has not said yet who we are there.
fn unready(activation: &Activation) -> Option<Answer> {
    let EhrAuthentication::BackendAuth(auth) = &activation.ehr_authentication else { return None };
    if auth.client_id.is_some() {
        return None;
    }
    let field = "spec.ehrAuthentication.system.backendAuth.clientId";
    let mark = Mark::denies(Kind::Activation, &activation.key, field, "the EHR's client ID is missing");
    let message = "the scopes permit it, but the EHR has given no client ID yet";
    Some(Answer::denied(Code::ActivationKeyUnready, message, vec![mark]))
}

fn of_private_api(
    world: &Compiled<'_>,
    question: &Question<'_>,
    activation: &Activation,
    scopes: &ScopeSet,
    path: &str,
) -> Answer {
    let adapter = &activation.gateway.data_adapter;
    let decide = |scopes: &ScopeSet| {
        private_api::decide(adapter.external_auth.as_ref(), scopes, question.request.method(), path).map(|_| ())
    };
    let holds_scope = |own: &ScopeSet| decide(own) != Err(PrivateApiRefused::Scope);
    let denies = |field: &str, says: &str| Mark::denies(Kind::DataAdapter, &adapter.key, field, says);
    let (code, refused, marks) = match decide(scopes) {
        Ok(()) => {
            return Answer::permitted("private API", layers::marks(world, activation, holds_scope));
        }
        Err(refused @ PrivateApiRefused::Scope) => {
            (Code::ScopeInsufficient, refused, layers::marks(world, activation, holds_scope))
        }
        Err(refused @ PrivateApiRefused::NoPrivateApi) => {
            (Code::PrivateApiRefused, refused, vec![denies("spec.externalAuth", "the adapter has no External auth")])
        }
        Err(refused @ PrivateApiRefused::NoRoute) => {
            let says = "no route includes it";
            (Code::PrivateApiRefused, refused, vec![denies("spec.externalAuth.routes", says)])
        }
    };
    Answer::denied(code, refused.to_string(), marks)
}

/// An object has a fault, or hangs on one that has: what must be mended first.
fn at_fault(world: &Compiled<'_>, object: &ObjectReference, code: Code) -> Answer {
    match root_cause(world, object) {
        Some((object, finding)) => {
            let message = format!("{object} is not served ({} {})", finding.code, finding.code.reason());
            let mark = Mark::denies(object.kind, &object.key, &finding.field, &finding.message);
            Answer::denied(code, message, vec![mark])
        }
        None => Answer::denied(code, format!("{object} is not served"), Vec::new()),
    }
}

/// The fault at the bottom of the chain that hangs on an object.
fn root_cause<'world>(
    world: &Compiled<'world>,
    object: &ObjectReference,
) -> Option<(ObjectReference, &'world Finding)> {
    let report = world.report(object)?;
    let finding = report.errors().next()?;
    if finding.code == Code::RefNotAccepted {
        // References lead from activations to gateways to adapters, never back.
        let below = report.references.iter().find_map(|reference| root_cause(world, reference));
        if below.is_some() {
            return below;
        }
    }
    Some((report.object.clone(), finding))
}
