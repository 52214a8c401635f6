//! The simulated EHR, as strict as the real ones. It imports nothing of ours, so that it cannot share our mistakes.
//!
//! | where | what |
//! |---|---|
//! | [`AUTHORIZE_PATH`] | SMART App Launch for users, with a login page and a choice of patients |
//! | [`REGISTRATION_PATH`] | a page where people register an app's key |
//! | [`LAUNCHER_PATH`] | the EHR's list of apps: starts one for a patient (EHR launch) |
//! | [`TOKEN_PATH`] | SMART Backend Services, client secrets, codes and refresh tokens, refusing with Epic's bare answers |
//! | [`FHIR_PATH`] | FHIR R4 for Bearer tokens and for Basic credentials |
//! | [`OPEN_FHIR_PATH`] | the same data set, open to all |
//! | [`PRIVATE_PATH`] | non-FHIR APIs that want Basic and `Epic-Client-ID` |
//! | `/sandbox/…` | for people and tests: clients, log, faults, tokens |
//!
//! The two FHIR bases keep their data apart: what is written to one does not show in the other.

mod assertion;
mod authorize;
mod bearer;
mod controls;
mod discovery;
mod faults;
mod fetched_keys;
mod fhir;
mod front;
mod gzip;
mod home;
mod id_token;
mod issued;
mod key_set;
mod launch;
mod launcher;
mod log;
mod page;
mod people;
mod private_api;
mod public_key;
mod registration;
mod registration_page;
mod token;
mod user_scope;
mod user_session;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::faults::{Fault, FaultError};
pub use self::fhir::data::{BOOKED_APPOINTMENT, FIRST_PATIENT, FREE_SLOT, PRACTITIONER};
pub use self::launch::{LaunchError, LaunchOrder};
pub use self::log::{LogEntry, PresentedCredential, Verdict};
pub use self::people::DEMO_PASSWORD;
pub use self::registration::{Credential, RegisteredClient, Registration, RegistrationError};

/// Path of the OpenID issuer.
const ISSUER_PATH: &str = "/interconnect/oauth2";
/// Path of the authorization endpoint; its pages lie below.
pub const AUTHORIZE_PATH: &str = "/interconnect/oauth2/authorize";
/// Path of the issuer's key set.
const JWKS_PATH: &str = "/interconnect/oauth2/jwks";
/// Path of the page where people register apps.
pub const REGISTRATION_PATH: &str = "/interconnect/registration";
/// Path of the EHR's list of apps.
pub const LAUNCHER_PATH: &str = "/interconnect/launcher";
/// Path of the style for apps.
const SMART_STYLE_PATH: &str = "/interconnect/smart-style.json";
/// Path of the token URL.
pub const TOKEN_PATH: &str = "/interconnect/oauth2/token";
/// Path of the FHIR R4 base.
pub const FHIR_PATH: &str = "/interconnect/api/FHIR/R4";
/// Path of the FHIR R4 base that asks for no authorization.
pub const OPEN_FHIR_PATH: &str = "/open/FHIR/R4";
/// Path of the private APIs.
pub const PRIVATE_PATH: &str = "/interconnect/api/private";

/// How long open connections may take to finish once the sandbox is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How a sandbox is to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Under which URL it is reached, without a trailing slash; default `http://<listen>`. Assertions must name the
    /// token URL below it as their audience.
    pub public_url: Option<String>,
    /// How long an access token lives, in seconds; Epic says 3600.
    pub token_lifetime_seconds: u32,
    /// How many requests the log keeps.
    pub log_capacity: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            public_url: None,
            token_lifetime_seconds: 3600,
            log_capacity: 10_000,
        }
    }
}

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, or not ours.
    #[error("the sandbox cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The public URL is not an absolute `http` or `https` URL without query and fragment.
    #[error("the public URL {0:?} is not an absolute http or https URL without query and fragment")]
    PublicUrl(String),
}

/// A simulated EHR that holds its address and does not serve yet.
#[derive(Debug)]
pub struct Sandbox {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// A way into a sandbox while it serves, for tests and for `serve --sandbox`; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What all endpoints share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    base_url: String,
    registry: registration::Registry,
    tokens: issued::IssuedTokens,
    used: issued::UsedAssertions,
    sessions: user_session::UserSessions,
    interactions: authorize::Interactions,
    launches: launch::Launches,
    id_tokens: id_token::IdTokens,
    fetched_keys: fetched_keys::FetchedKeys,
    log: log::Log,
    faults: faults::Faults,
    fhir: fhir::FhirServer,
    open_fhir: fhir::FhirServer,
}

impl Shared {
    fn new(settings: Settings, base_url: String) -> Shared {
        Shared {
            registry: registration::Registry::default(),
            tokens: issued::IssuedTokens::default(),
            used: issued::UsedAssertions::default(),
            sessions: user_session::UserSessions::default(),
            interactions: authorize::Interactions::default(),
            launches: launch::Launches::default(),
            id_tokens: id_token::IdTokens::default(),
            fetched_keys: fetched_keys::FetchedKeys::default(),
            log: log::Log::new(settings.log_capacity),
            faults: faults::Faults::default(),
            fhir: fhir::FhirServer::new(format!("{base_url}{FHIR_PATH}"), fhir::Access::Authorized),
            open_fhir: fhir::FhirServer::new(format!("{base_url}{OPEN_FHIR_PATH}"), fhir::Access::Open),
            settings,
            base_url,
        }
    }

    fn token_url(&self) -> String {
        format!("{}{TOKEN_PATH}", self.base_url)
    }

    fn issuer(&self) -> String {
        format!("{}{ISSUER_PATH}", self.base_url)
    }

    fn authorization_url(&self) -> String {
        format!("{}{AUTHORIZE_PATH}", self.base_url)
    }

    /// Revokes everything that was issued for one authorization.
    fn end_family(&self, family: u64) {
        self.sessions.end_family(family);
        self.tokens.revoke_family(family);
    }

    /// Removes a client with everything that was issued to it; `false` when there is none.
    fn unregister(&self, client_id: &str) -> bool {
        self.tokens.revoke(Some(client_id));
        self.sessions.end(Some(client_id));
        self.registry.unregister(client_id)
    }
}

impl Sandbox {
    /// Takes the address, so that the base URL is known before the first request is served.
    pub async fn bind(settings: Settings) -> Result<Sandbox, BindError> {
        let address = settings.listen;
        let listen = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let base_url = match &settings.public_url {
            Some(url) => checked_public_url(url)?,
            None => format!("http://{local}"),
        };
        Ok(Sandbox { listener, shared: Arc::new(Shared::new(settings, base_url)) })
    }

    /// `http://127.0.0.1:8090`, or the public URL; without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.shared.base_url
    }

    /// A way in that outlives [`Sandbox::serve`].
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `shutdown`; then takes no more connections and gives the open ones five seconds to finish.
    pub async fn serve(self, shutdown: CancellationToken) {
        let drained = {
            let shutdown = shutdown.clone();
            async move {
                shutdown.cancelled_owned().await;
                tokio::time::sleep(DRAIN).await;
            }
        };
        let server = axum::serve(self.listener, router(self.shared)).with_graceful_shutdown(shutdown.cancelled_owned());
        tokio::select! {
            result = async { server.await } => {
                if let Err(error) = result {
                    tracing::error!(%error, "the sandbox stopped serving");
                }
            }
            () = drained => tracing::warn!("the sandbox stopped while connections were still open"),
        }
    }
}

impl Handle {
    /// `http://127.0.0.1:8090`, or the public URL; without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.shared.base_url
    }

    /// The FHIR R4 base that asks for a token or a Basic credential.
    pub fn fhir_base_url(&self) -> String {
        format!("{}{FHIR_PATH}", self.shared.base_url)
    }

    /// The FHIR R4 base that is open to all.
    pub fn open_fhir_base_url(&self) -> String {
        format!("{}{OPEN_FHIR_PATH}", self.shared.base_url)
    }

    /// The token URL, which is also the audience that assertions must name.
    pub fn token_url(&self) -> String {
        self.shared.token_url()
    }

    /// The base of the private APIs.
    pub fn private_base_url(&self) -> String {
        format!("{}{PRIVATE_PATH}", self.shared.base_url)
    }

    /// Registers a client as the EHR's people would.
    pub fn register(&self, registration: Registration) -> Result<(), RegistrationError> {
        self.shared.registry.register(registration)
    }

    /// Removes a client; its tokens die with it. `false` when there is none.
    pub fn unregister(&self, client_id: &str) -> bool {
        self.shared.unregister(client_id)
    }

    /// The registered clients, without secrets.
    pub fn clients(&self) -> Vec<RegisteredClient> {
        self.shared.registry.list()
    }

    /// What has arrived, oldest first.
    pub fn log(&self) -> Vec<LogEntry> {
        self.shared.log.after(0)
    }

    /// Empties the log; the numbering goes on.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// Lets the next requests of an endpoint go wrong.
    pub fn add_fault(&self, fault: Fault) -> Result<(), FaultError> {
        self.shared.faults.add(fault)
    }

    /// Removes all faults that still wait.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Forgets all access tokens: the next call with one is answered 401.
    pub fn revoke_tokens(&self) {
        self.shared.tokens.revoke(None);
    }

    /// Ends the life of all access tokens, as time would; refresh tokens stay good.
    pub fn expire_tokens(&self) {
        self.shared.tokens.expire(jiff::Timestamp::now().as_second());
    }

    /// Forgets all refresh tokens and unused codes: the next refresh is answered `invalid_grant`.
    pub fn end_user_sessions(&self) {
        self.shared.sessions.end(None);
    }

    /// Signs id_tokens with another key from now on.
    pub fn replace_id_token_key(&self) {
        self.shared.id_tokens.replace_key();
    }

    /// Starts an app as a person in the EHR would: the URL that their browser opens.
    pub fn launch(&self, order: &LaunchOrder) -> Result<String, LaunchError> {
        self.shared.launch(order, jiff::Timestamp::now().as_second())
    }

    /// The authorization endpoint.
    pub fn authorization_url(&self) -> String {
        self.shared.authorization_url()
    }

    /// The OpenID issuer, which is the `iss` of authorization answers too.
    pub fn issuer(&self) -> String {
        self.shared.issuer()
    }
}

fn checked_public_url(text: &str) -> Result<String, BindError> {
    let refused = || BindError::PublicUrl(text.to_owned());
    let url = url::Url::parse(text).map_err(|_| refused())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    plain.then(|| text.trim_end_matches('/').to_owned()).ok_or_else(refused)
}

/// Every URL of the sandbox. A new endpoint is a file of its own and a line here.
fn router(shared: Arc<Shared>) -> Router {
    let fhir_routes = |path: &str| [path.to_owned(), format!("{path}/"), format!("{path}/{{*rest}}")];
    let mut ehr = Router::new()
        .route(AUTHORIZE_PATH, get(authorize::by_get).post(authorize::by_post))
        .route(&format!("{AUTHORIZE_PATH}/login"), post(authorize::login))
        .route(&format!("{AUTHORIZE_PATH}/patient"), post(authorize::patient))
        .route(TOKEN_PATH, post(token::token))
        .route(JWKS_PATH, get(id_token::jwks))
        .route(&format!("{ISSUER_PATH}/.well-known/openid-configuration"), get(id_token::openid_configuration))
        .route(REGISTRATION_PATH, get(registration_page::show).post(registration_page::register))
        .route(LAUNCHER_PATH, get(launcher::show).post(launcher::start))
        .route(SMART_STYLE_PATH, get(discovery::smart_style))
        .route(page::STYLE_PATH, get(page::style))
        .route(&format!("{PRIVATE_PATH}/{{*rest}}"), any(private_api::serve));
    for path in fhir_routes(FHIR_PATH) {
        ehr = ehr.route(&path, any(fhir::authorized));
    }
    for path in fhir_routes(OPEN_FHIR_PATH) {
        ehr = ehr.route(&path, any(fhir::open));
    }
    let ehr = ehr
        .fallback(async || (StatusCode::NOT_FOUND, "nothing of the simulated EHR is here\n"))
        .layer(from_fn_with_state(Arc::clone(&shared), front::receive));
    Router::new().route("/", get(home::home)).nest("/sandbox", controls::router()).merge(ehr).with_state(shared)
}
