//! The console: web pages that show what is so and write the YAML that changes it. Read-only: git stays the truth.
//!
//! ```text
//! published ─┐
//! resources ─┼─► model (one value a change) ─► pages (one file a page) ─► HTML
//! live ──────┘                                 forms ─► YAML ─► judge (the rules of `check`) ─► YAML to commit
//! ```
//! Everything is rendered here and embedded in the binary: templates by askama, one style sheet, htmx for replacing a
//! part of a page without loading it anew. No page needs a script, no script or style stands in a page, and nothing is
//! fetched from elsewhere; the Content-Security-Policy says so to the browser.

mod access;
mod assets;
mod draft;
mod error;
mod form;
mod frame;
mod history;
mod model;
mod pages;
mod picture;
mod plot;
mod respond;
mod session;
pub mod snippets;
mod standby;
mod state;

pub use session::NoRandomness;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::snapshot::live::LiveStatus;
use crate::snapshot::{Published, Report, Resources};
use crate::values::code::Code;
use model::Model;

/// What the console shows, and what it asks.
pub struct Inputs {
    /// The objects themselves.
    pub resources: watch::Receiver<Option<Arc<Resources>>>,
    /// What was compiled from them.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// What is told of them.
    pub live: watch::Receiver<Arc<LiveStatus>>,
    /// Judges drafts.
    pub judge: Judge,
    /// Who may see what. `None`: whoever reaches the listener may see everything (standalone, on loopback).
    pub access: Option<Access>,
    /// How the command line reaches this installation.
    pub terminal: Terminal,
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inputs").finish_non_exhaustive()
    }
}

/// How the command line reaches this installation.
#[derive(Clone, Debug, Default)]
pub struct Terminal {
    /// Options that `hearthgate status` and its like need, such as `--server http://127.0.0.1:9091`; mostly none.
    pub options: String,
    /// Whether the objects are in a cluster, where kubectl finds them.
    pub in_cluster: bool,
}

/// Judges YAML together with what is there already, by the rules of `hearthgate check`.
pub type Judge = Arc<dyn Fn(&str, &Resources, &Published) -> Judgement + Send + Sync>;

/// What was found out about a draft.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Everything that is wrong or worth knowing, in the order in which it was found.
    pub problems: Vec<Problem>,
    /// The reports on the draft's objects; empty where the schema was broken.
    pub reports: Vec<Report>,
}

/// One thing about a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the object would not be served. Else it is only worth knowing.
    pub is_error: bool,
    /// Which code.
    pub code: Code,
    /// The field that it is about, such as `spec.scopes[1]`; empty: the object.
    pub field: String,
    /// What it is, for a person.
    pub message: String,
}

/// Who may see what, in a cluster.
#[derive(Clone)]
pub struct Access {
    /// Tells whose token this is. `None`: nobody's.
    pub authenticate: Arc<dyn Fn(SecretString) -> BoxFuture<'static, Option<Person>> + Send + Sync>,
    /// Whether a person may read the objects of a namespace; of all, where it is empty.
    pub may_read: Arc<dyn Fn(Person, String) -> BoxFuture<'static, bool> + Send + Sync>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Somebody whom the API server knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Person {
    /// The user name.
    pub name: String,
    /// The UID, where there is one.
    pub uid: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the API server said, which authorizers may look at.
    pub extra: std::collections::BTreeMap<String, Vec<String>>,
}

/// What every page works with.
#[derive(Clone)]
struct Shared {
    model: watch::Receiver<Arc<Model>>,
    judge: Judge,
    access: Option<Access>,
    terminal: Arc<Terminal>,
    sessions: Arc<session::Sealer>,
    /// Another process counts its versions from one again.
    boot: Arc<str>,
}

/// The pages, all below `/console/`. They are kept up to date until `stop`.
///
/// # Errors
/// Where the machine has no randomness.
pub fn router(inputs: Inputs, stop: CancellationToken) -> Result<Router, NoRandomness> {
    let Inputs { resources, published, live, judge, access, terminal } = inputs;
    let shared = Shared {
        model: model::follow(resources, published, live, stop),
        judge,
        access,
        terminal: Arc::new(terminal),
        sessions: Arc::new(session::Sealer::new()?),
        boot: uuid::Uuid::new_v4().simple().to_string().into(),
    };
    let of_an_environment = Router::new()
        .route("/apps", get(pages::list::apps))
        .route("/apps/{name}", get(pages::app::get))
        .route("/gateways", get(pages::list::gateways))
        .route("/gateways/{name}", get(pages::gateway::get))
        .route("/adapters", get(pages::list::adapters))
        .route("/adapters/{name}", get(pages::adapter::get))
        .route("/activations", get(pages::list::activations))
        .route("/activations/{name}", get(pages::activation::get))
        .route("/activations/{name}/certificate.pem", get(pages::activation::certificate))
        .route("/picture", get(pages::picture::get))
        .route("/register", get(pages::register::get))
        .route("/register/yaml", get(pages::register::yaml))
        .route("/activate", get(pages::activate::get))
        .route("/activate/yaml", get(pages::activate::yaml));
    let seen_by_known = Router::new()
        .route("/console/", get(pages::environments::get))
        // With the slash, which a nested route would not have.
        .route("/console/environments/{namespace}/", get(pages::home::get))
        .nest("/console/environments/{namespace}", of_an_environment)
        .layer(from_fn_with_state(shared.clone(), access::only_permitted));
    Ok(Router::new()
        .route("/console", get(async || axum::response::Redirect::permanent("/console/")))
        .route("/console/login", get(access::login_page).post(access::login))
        .route("/console/logout", axum::routing::post(access::logout))
        .route("/console/assets/{file}", get(assets::get))
        .merge(seen_by_known)
        .fallback(async || error::PageError::NoPage)
        .layer(from_fn(respond::secure))
        .with_state(shared))
}
