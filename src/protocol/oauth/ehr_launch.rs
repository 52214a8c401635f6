//! A launch that begins in the EHR (SMART App Launch 2.2 "EHR launch"): `B/launch/<app>` takes the EHR's `iss` and
//! `launch` and starts the app with ours.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::authorize::user_of;
use super::redirect;
use crate::protocol::form;
use crate::snapshot::{Activation, Gateway, NotLive, Snapshot};
use crate::values::code::Code;

/// Longest `launch` that is kept for an EHR, in bytes.
const LONGEST_LAUNCH: usize = 4096;

/// A launch under way: what our own `launch` value stands for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EhrLaunch {
    /// UID of the activation.
    pub activation: String,
    /// The EHR's `launch`.
    pub launch: String,
}

/// Why an app is not started. Told on a page: the EHR's user reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchFault {
    /// Not one `iss` and one `launch`.
    #[error("the launch must bring the parameters iss and launch, each once")]
    Malformed,
    /// Another EHR's.
    #[error("the launch comes from another EHR than this gateway's")]
    Issuer,
    /// There is no such app here, or it is not started by EHRs.
    #[error("no app of this name can be launched here")]
    App,
    /// It has no effect now.
    #[error("the app's activation on this gateway is not in effect now")]
    NotLive(NotLive),
}

impl LaunchFault {
    /// The code of the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed => Code::MalformedAuthorizationRequest,
            Self::Issuer => Code::LaunchUnknown,
            Self::App => Code::ClientUnauthorized,
            Self::NotLive(NotLive::Suspended(_)) => Code::ActivationSuspended,
            Self::NotLive(NotLive::NotYet(_) | NotLive::Over(_)) => Code::ActivationOutsideWindow,
        }
    }
}

/// Decides: the launch to keep, and the app's launch URI. `also_issuer` is what the EHR is known to call itself besides
/// its FHIR base.
pub fn decide(
    snapshot: &Snapshot,
    gateway: &Gateway,
    app: &str,
    query: &str,
    also_issuer: impl FnOnce(&Activation) -> Option<String>,
    now: Timestamp,
) -> Result<(Arc<Activation>, EhrLaunch, String), LaunchFault> {
    let key = gateway.key.sibling(app);
    let activation = snapshot.activation_of(&gateway.key, &key).ok_or(LaunchFault::App)?;
    let launch_uri = activation.app.launch_uri.as_ref().ok_or(LaunchFault::App)?;
    user_of(activation).ok_or(LaunchFault::App)?;
    activation.live_at(now).map_err(LaunchFault::NotLive)?;
    let (mut issuer, mut launch) = (None, None);
    for pair in form::pairs(query.as_bytes()) {
        let (name, value) = pair.map_err(|_| LaunchFault::Malformed)?;
        let place = match name.as_ref() {
            "iss" => &mut issuer,
            "launch" => &mut launch,
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(LaunchFault::Malformed);
        }
    }
    let issuer = issuer.ok_or(LaunchFault::Malformed)?;
    let launch = launch.filter(|launch| (1..=LONGEST_LAUNCH).contains(&launch.len())).ok_or(LaunchFault::Malformed)?;
    let base = gateway.data_adapter.fhir_base.without_slash();
    if issuer.trim_end_matches('/') != base && also_issuer(activation).as_ref() != Some(&issuer) {
        return Err(LaunchFault::Issuer);
    }
    let launch = EhrLaunch { activation: activation.uid.clone(), launch };
    Ok((Arc::clone(activation), launch, launch_uri.as_str().to_owned()))
}

/// Where the browser goes: the app's launch URI with our `iss` and our `launch`.
pub fn start(gateway: &Gateway, launch_uri: &str, launch: &str) -> String {
    redirect::with_parameters(launch_uri, [("iss", Some(gateway.fhir_base.as_str())), ("launch", Some(launch))])
}
