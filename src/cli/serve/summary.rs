//! What `serve` prints once it runs: gateways, apps, activations, and the lines to try next.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::api::common::condition;
use crate::api::{ActivationStatus, AppStatus, GatewayStatus};
use crate::snapshot::live::LiveObject;
use crate::snapshot::{Kind, ObjectKey};

/// Where things run.
pub(super) struct Places {
    pub(super) directory: String,
    pub(super) public: String,
    pub(super) admin: String,
    pub(super) sandbox: Option<String>,
    /// How to call this very binary from where the person stands.
    pub(super) program: String,
    /// A resource that is there in the simulated EHR.
    pub(super) sample: Option<&'static str>,
}

/// The whole text. `has_secret`: whether an app proves who it is with a client secret; else it has a key of its own.
pub(super) fn text(places: &Places, objects: &[LiveObject], has_secret: impl Fn(&ObjectKey) -> bool) -> String {
    let mut text = format!("\nHearthgate serves {}\n\n", places.directory);
    let _ = writeln!(text, "  apps and EHRs call   {}", places.public);
    let _ = writeln!(text, "  the console          {}/console/", places.admin);
    let _ = writeln!(text, "  status and metrics   {}", places.admin);
    if let Some(sandbox) = &places.sandbox {
        let _ = writeln!(text, "  the simulated EHR    {sandbox}");
    }
    text.push('\n');
    let _ = writeln!(text, "{}", objects_table(objects));
    for (name, step) in next_steps(objects) {
        let _ = writeln!(text, "\n{name}: {step}");
    }
    text.push_str(&lines_to_try(places, objects, has_secret));
    text
}

fn objects_table(objects: &[LiveObject]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["KIND", "NAME", "READY", "REASON", ""]);
    for live in objects {
        let ready = live.condition(condition::READY);
        let status = ready.map_or("Unknown", |ready| ready.status.as_str());
        let reason = ready.map_or("", |ready| ready.reason.as_str());
        table.add_row([live.object.kind.as_str(), &live.object.key.to_string(), status, reason, &detail(live)]);
    }
    table
}

/// The one thing about an object that people look for.
fn detail(live: &LiveObject) -> String {
    match live.object.kind {
        Kind::App => {
            let client_id = live.status_as::<AppStatus>().client_id;
            client_id.map(|id| format!("client ID {id}")).unwrap_or_default()
        }
        Kind::Gateway => live.status_as::<GatewayStatus>().url.unwrap_or_default(),
        Kind::Activation => {
            live.status_as::<ActivationStatus>().jwks_url.map(|url| format!("keys {url}")).unwrap_or_default()
        }
        Kind::DataAdapter | Kind::Secret | Kind::ConfigMap => String::new(),
    }
}

fn next_steps(objects: &[LiveObject]) -> Vec<(String, String)> {
    let activations = objects.iter().filter(|live| live.object.kind == Kind::Activation);
    activations
        .filter(|live| !live.is_ready())
        .filter_map(|live| Some((live.object.key.name.clone(), live.status_as::<ActivationStatus>().next_step?)))
        .collect()
}

/// Copy-paste lines for the first activation that has no user.
fn lines_to_try(places: &Places, objects: &[LiveObject], has_secret: impl Fn(&ObjectKey) -> bool) -> String {
    let activation = objects.iter().filter(|live| live.object.kind == Kind::Activation).find_map(|live| {
        let status: ActivationStatus = live.status_as();
        let connection = status.connection.filter(|connection| connection.authorization_url.is_none())?;
        let named = |kind| Some(live.reference(kind)?.key.clone());
        Some((named(Kind::App)?, named(Kind::Gateway)?, connection))
    });
    let Some((app, gateway, connection)) = activation else {
        return "\nNothing to call yet: add an App, a Gateway, a DataAdapter and an Activation to the directory.\n"
            .into();
    };
    let program = &places.program;
    let server =
        if places.admin == "http://127.0.0.1:9090" { String::new() } else { format!(" --server {}", places.admin) };
    let sample = places.sample.map_or_else(|| "metadata".to_owned(), |id| format!("Patient/{id}"));
    let mut text = String::from("\nTry next:\n\n");
    let with_secret = has_secret(&app);
    let key = if with_secret { "" } else { " --key-file private.pem" };
    let _ = writeln!(
        text,
        "  $ TOKEN=$({program} token {} -n {} --gateway {}{key}{server})",
        app.name, app.namespace, gateway.name
    );
    let _ = writeln!(text, "  $ curl -s -H \"Authorization: Bearer $TOKEN\" {}/{sample}", connection.fhir_base_url);
    let _ = writeln!(text, "  $ {program} status{server}");
    if !with_secret {
        text.push_str("\nThe app proves who it is with a key of its own: private.pem stands for that key's file.\n");
        return text;
    }
    let _ = writeln!(text, "\nThe token as an app gets it, with the app's own client secret:\n");
    let _ = writeln!(
        text,
        "  curl -s -u \"{}:$CLIENT_SECRET\" -d grant_type=client_credentials {}",
        connection.client_id, connection.token_url
    );
    text
}
