//! Which app may do what, where, for how long: what an auditor asks, and what `plan` compares.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::activation::{Activation, EhrAuthentication, NotLive};
use super::report::Detail;
use super::{Compiled, Kind, ObjectKey, ObjectReference, Report};
use crate::api::ClientType;
use crate::values::code::Code;
use crate::values::scope::{Scope, ScopeSet};

/// One app on one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The environment.
    pub namespace: String,
    /// The app.
    pub app: String,
    /// Its client ID; empty where the app itself has a fault.
    pub client_id: String,
    /// The gateway.
    pub gateway: String,
    /// The EHR behind it, as people call it; empty where the gateway has a fault.
    pub ehr: String,
    /// The activation that says so.
    pub activation: String,
    /// Whether it has effect at the moment that was asked about.
    pub state: State,
    /// Whether users stand behind the app's requests, or it acts by itself.
    pub acts: Acts,
    /// The most that a token can hold.
    #[serde(serialize_with = "words")]
    pub scopes: ScopeSet,
    /// FHIR operations that the gateway lets through, as far as scopes permit them.
    pub operations: Vec<String>,
    /// What may be called of the EHR's private APIs.
    pub private_apis: Vec<String>,
    /// No effect before.
    pub not_before: Option<Timestamp>,
    /// No effect from then on.
    pub expires_at: Option<Timestamp>,
}

/// On whose behalf an app acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Acts {
    /// By itself.
    System,
    /// For a user who logs in at the EHR.
    User,
}

/// Whether an activation has effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has.
    InEffect,
    /// Not now.
    NotLive(NotLive),
    /// It, or something that it hangs on, has a fault.
    Faulty {
        /// Which.
        code: Code,
        /// What is wrong.
        message: String,
    },
}

impl State {
    /// The state in one word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::InEffect => "in effect",
            Self::NotLive(NotLive::Suspended(_)) => "suspended",
            Self::NotLive(NotLive::NotYet(_)) => "not yet",
            Self::NotLive(NotLive::Over(_)) => "over",
            Self::Faulty { .. } => "faulty",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InEffect => formatter.write_str("in effect"),
            Self::NotLive(not_live) => write!(formatter, "{not_live}"),
            Self::Faulty { code, message } => write!(formatter, "{} {}: {message}", code.number(), code.reason()),
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn words<S: Serializer>(scopes: &ScopeSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter().map(ToString::to_string))
}

/// Every activation, sorted by namespace, app and gateway; faulty ones too, which give nothing.
pub fn access(compiled: &Compiled<'_>, now: Timestamp) -> Vec<Access> {
    let mut all: Vec<Access> = compiled
        .reports
        .iter()
        .filter(|report| report.object.kind == Kind::Activation)
        .filter_map(|report| match compiled.snapshot.activations.get(&report.object.key) {
            Some(activation) => Some(of_activation(activation, now)),
            None => of_faulty(report),
        })
        .collect();
    all.sort_by(|one, other| one.place().cmp(&other.place()));
    all
}

impl Access {
    /// What identifies it: namespace, app and gateway, and of several that claim the same, the activation.
    fn place(&self) -> (&str, &str, &str, &str) {
        (&self.namespace, &self.app, &self.gateway, &self.activation)
    }

    /// The activation.
    pub fn object(&self) -> ObjectReference {
        ObjectReference::new(Kind::Activation, ObjectKey::new(&self.namespace, &self.activation))
    }
}

fn of_activation(own: &Activation, now: Timestamp) -> Access {
    let acts = match own.ehr_authentication {
        EhrAuthentication::User(_) => Acts::User,
        EhrAuthentication::BackendAuth(_)
        | EhrAuthentication::ClientCredentials(_)
        | EhrAuthentication::Basic(_)
        | EhrAuthentication::None => Acts::System,
    };
    let scopes = match (acts, own.app.client_type) {
        (Acts::User, _) => own.ceiling.clone(),
        (Acts::System, ClientType::Confidential | ClientType::BackendService) => own.ceiling.without_user(),
        // Without credentials of its own and without a user there is no way to a token.
        (Acts::System, ClientType::Public) => ScopeSet::new(),
    };
    let holds_any = scopes.resources().next().is_some();
    Access {
        namespace: own.key.namespace.clone(),
        app: own.app.key.name.clone(),
        client_id: own.app.client_id.clone(),
        gateway: own.gateway.key.name.clone(),
        ehr: own.gateway.data_adapter.display_name.clone(),
        activation: own.key.name.clone(),
        state: own.live_at(now).map_or_else(State::NotLive, |()| State::InEffect),
        acts,
        operations: own.gateway.operations.iter().filter(|_| holds_any).cloned().collect(),
        private_apis: if scopes.covers(&Scope::PrivateApi) { private_apis(own) } else { Vec::new() },
        scopes,
        not_before: own.not_before,
        expires_at: own.expires_at,
    }
}

fn private_apis(own: &Activation) -> Vec<String> {
    let Some(external_auth) = &own.gateway.data_adapter.external_auth else { return Vec::new() };
    match &external_auth.routes {
        None => vec![format!("everything below {}", external_auth.api_endpoint)],
        Some(routes) => routes
            .iter()
            .map(|route| {
                let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
                format!("{} {}", methods.join(","), route.path_prefix)
            })
            .collect(),
    }
}

fn of_faulty(report: &Report) -> Option<Access> {
    let Detail::Activation(detail) = &report.detail else { return None };
    let named = |kind| {
        let reference = report.references.iter().find(|reference| reference.kind == kind);
        reference.map(|reference| reference.key.name.clone()).unwrap_or_default()
    };
    let fault = report.errors().next()?;
    Some(Access {
        namespace: report.object.key.namespace.clone(),
        app: named(Kind::App),
        client_id: detail.connection.as_ref().map(|connection| connection.client_id.clone()).unwrap_or_default(),
        gateway: named(Kind::Gateway),
        ehr: detail.ehr_name.clone(),
        activation: report.object.key.name.clone(),
        state: State::Faulty { code: fault.code, message: fault.message.clone() },
        acts: if detail.callback_url.is_some() { Acts::User } else { Acts::System },
        scopes: ScopeSet::new(),
        operations: Vec::new(),
        private_apis: Vec::new(),
        not_before: detail.not_before,
        expires_at: detail.expires_at,
    })
}
