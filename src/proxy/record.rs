//! What is noted about a request on its way: the one log line, and the metrics.

use std::sync::Arc;

use super::audit;
use super::cors::Cors;
use crate::protocol::jwt::Bearer;
use crate::protocol::route::EndpointClass;
use crate::snapshot::{Activation, Gateway, ObjectKey};
use crate::values::code::Code;

/// Notes about one request. Nothing in it may hold PHI or a credential: no path, no query, no body.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) endpoint: EndpointClass,
    pub(super) gateway: Option<ObjectKey>,
    pub(super) app: Option<ObjectKey>,
    /// The activation that decided, as it stood then.
    pub(super) activation: Option<Arc<Activation>>,
    /// SHA-256 of the user's `sub`, where a user stands behind the request.
    pub(super) user: Option<String>,
    /// Known to be the client's, or at least well-formed.
    pub(super) client_id: Option<String>,
    /// FHIR's word for it.
    pub(super) interaction: Option<&'static str>,
    pub(super) resource_type: Option<String>,
    pub(super) code: Option<Code>,
    /// What the answer does not tell.
    pub(super) cause: Option<String>,
    /// What a browser is told.
    pub(super) cors: Cors,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            endpoint: EndpointClass::Unknown,
            gateway: None,
            app: None,
            activation: None,
            user: None,
            client_id: None,
            interaction: None,
            resource_type: None,
            code: None,
            cause: None,
            cors: Cors::Closed,
        }
    }
}

impl Record {
    /// `subject`: the token's `sub`, a user's where the token belongs to a session.
    pub(super) fn note_bearer(&mut self, bearer: &Bearer, gateway: &Gateway, subject: &str) {
        self.app = Some(bearer.activation.app.key.clone());
        self.activation = Some(Arc::clone(&bearer.activation));
        // A pseudonym: the same user of the same gateway has the same one, and it tells nothing else.
        let is_user = bearer.session.is_some();
        self.user = is_user.then(|| audit::hash(format!("{}\n{subject}", gateway.issuer).as_bytes()));
        self.client_id = Some(bearer.activation.app.client_id.clone());
    }

    /// A client ID that a client claims: noted only in the form that our client IDs have.
    pub(super) fn note_claimed_client_id(&mut self, claimed: Option<&str>) {
        let is_client_id = |id: &&str| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-'))
        };
        self.client_id = claimed.filter(is_client_id).map(str::to_owned);
    }
}
