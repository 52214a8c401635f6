//! What a person does at a real EHR, done at the simulated one: registering each activation's credentials.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sandbox::{Credential, Handle, Registration};
use crate::snapshot::activation::{TokenUrl, User, UserCredential};
use crate::snapshot::{Activation, DataAdapter, EhrAuthentication, Published, Snapshot};

/// Keeps the sandbox's registrations in step with what is published, and passes on what is published only then: whoever
/// asks for a token has been registered.
pub(super) fn register(
    sandbox: Handle,
    mut published: watch::Receiver<Option<Arc<Published>>>,
    work: &TaskTracker,
    stop: &CancellationToken,
) -> watch::Receiver<Option<Arc<Published>>> {
    let (sender, registered) = watch::channel(None);
    let stop = stop.clone();
    work.spawn(async move {
        loop {
            let newest = published.borrow_and_update().clone();
            if let Some(newest) = &newest {
                register_all(&sandbox, &newest.snapshot);
            }
            sender.send_replace(newest);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
            }
        }
    });
    registered
}

fn register_all(sandbox: &Handle, snapshot: &Snapshot) {
    let of_activations = snapshot.activations.values().filter_map(|activation| registration_of(sandbox, activation));
    let of_adapters = snapshot.data_adapters.values().filter_map(|adapter| private_api_of(sandbox, adapter));
    for registration in of_activations.chain(of_adapters) {
        let client_id = registration.client_id.clone();
        if let Err(error) = sandbox.register(registration) {
            tracing::warn!(client_id, %error, "the simulated EHR does not take a registration");
        }
    }
}

/// The registration that makes this activation's credentials good at the sandbox; `None` where it is about another EHR
/// or nothing is to be registered yet.
fn registration_of(sandbox: &Handle, activation: &Activation) -> Option<Registration> {
    let is_here = |url: &TokenUrl| match url {
        TokenUrl::Given(url) => url.as_str().starts_with(sandbox.base_url()),
        TokenUrl::Discovered => is_behind(sandbox, &activation.gateway.data_adapter),
    };
    let (client_id, credential) = match &activation.ehr_authentication {
        EhrAuthentication::BackendAuth(auth) if is_here(&auth.token_url) => {
            auth.signing.as_ref()?;
            (auth.client_id.clone()?, Credential::JwksUrl(auth.pair.jwks_url.clone()))
        }
        EhrAuthentication::ClientCredentials(auth) if is_here(&auth.token_url) => {
            (auth.client_id.clone(), Credential::ClientSecret(auth.client_secret.clone()))
        }
        EhrAuthentication::Basic(header) if is_behind(sandbox, &activation.gateway.data_adapter) => {
            (activation.key.to_string(), basic(header)?)
        }
        EhrAuthentication::User(user) if is_here(&user.token_url) => return user_facing(activation, user),
        EhrAuthentication::BackendAuth(_)
        | EhrAuthentication::ClientCredentials(_)
        | EhrAuthentication::Basic(_)
        | EhrAuthentication::None
        | EhrAuthentication::User(_) => return None,
    };
    let app_name = Some(activation.app.display_name.clone());
    Some(Registration { app_name, ..Registration::new(client_id, credential) })
}

/// A brokered launch: the EHR sends users back to the gateway, and starts the app there.
fn user_facing(activation: &Activation, user: &User) -> Option<Registration> {
    let credential = match &user.credential {
        UserCredential::Public => Credential::Public,
        UserCredential::Secret { secret, .. } => Credential::ClientSecret(secret.clone()),
        UserCredential::KeyPair { pair, signing } => {
            signing.as_ref()?;
            Credential::JwksUrl(pair.jwks_url.clone())
        }
    };
    let gateway = &activation.gateway.issuer;
    Some(Registration {
        app_name: Some(activation.app.display_name.clone()),
        redirect_uris: vec![format!("{gateway}/oauth2/callback")],
        launch_url: Some(format!("{gateway}/launch/{}", activation.app.key.name)),
        ..Registration::new(user.client_id.clone(), credential)
    })
}

fn private_api_of(sandbox: &Handle, adapter: &DataAdapter) -> Option<Registration> {
    let auth = adapter.external_auth.as_ref()?;
    if !auth.api_endpoint.as_str().starts_with(sandbox.base_url()) {
        return None;
    }
    let client_id = auth.client_id_header.1.to_str().ok()?.to_owned();
    Some(Registration::new(client_id, basic(&auth.authorization)?))
}

fn is_behind(sandbox: &Handle, adapter: &DataAdapter) -> bool {
    adapter.fhir_base.as_str().starts_with(sandbox.base_url())
}

/// The user and password of a `Basic` header.
fn basic(header: &SecretString) -> Option<Credential> {
    let decoded = STANDARD.decode(header.expose_secret().strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credential::Basic { user: user.into(), password: SecretString::from(password) })
}
