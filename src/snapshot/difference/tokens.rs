//! Access tokens that are refused once the change is in.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::super::{Activation, Compiled, EhrAuthentication};
use crate::api::ClientType;

/// The tokens of one activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadTokens {
    /// The environment.
    pub namespace: String,
    /// The activation that they were issued for.
    pub activation: String,
    /// The app that holds them.
    pub app: String,
    /// The gateway that issued them.
    pub gateway: String,
    /// Why they are refused.
    pub because: String,
    /// Whether they work again, if they have not expired, when the reason is gone.
    pub for_good: bool,
}

/// Tokens of activations that had effect before. What a narrower ceiling takes from living tokens is told with access.
pub(super) fn dead(old: &Compiled<'_>, new: &Compiled<'_>, now: Timestamp) -> Vec<DeadTokens> {
    let could_have_some = |own: &&Arc<Activation>| {
        let by_user = matches!(own.ehr_authentication, EhrAuthentication::User(_));
        own.live_at(now).is_ok() && (by_user || own.app.client_type != ClientType::Public)
    };
    let activations = old.snapshot.activations.values().filter(could_have_some);
    activations
        .filter_map(|own| {
            let (because, for_good) = reason(own, new, now)?;
            Some(DeadTokens {
                namespace: own.key.namespace.clone(),
                activation: own.key.name.clone(),
                app: own.app.key.name.clone(),
                gateway: own.gateway.key.name.clone(),
                because,
                for_good,
            })
        })
        .collect()
}

fn reason(own: &Activation, new: &Compiled<'_>, now: Timestamp) -> Option<(String, bool)> {
    let Some(successor) = new.snapshot.activations.get(&own.key) else {
        let removed = !new.resources.activations.contains_key(&own.key);
        return Some(if removed {
            (format!("Activation {} is removed", own.key), true)
        } else {
            (format!("Activation {} is not in order any more", own.key), false)
        });
    };
    let (before, after) = (&own.gateway, &successor.gateway);
    if before.issuer != after.issuer {
        return Some((format!("Gateway {} moves to {}", after.key, after.issuer), true));
    }
    successor.live_at(now).err().map(|not_live| (not_live.to_string(), false))
}
