//! "Register New App": the steps of the registration, checked as `hearthgate check` would, ending in YAML to commit.

use axum::Extension;
use axum::extract::{RawQuery, State as Extract};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};

use askama::Template as _;

use crate::console::access::Visitor;
use crate::console::draft;
use crate::console::error::PageError;
use crate::console::form::{Answers, Field, FormPage, Review, Steps, is_still_to_come};
use crate::console::frame::{Frame, Section, base};
use crate::console::model::Model;
use crate::console::{Judgement, Problem, Shared};
use crate::snapshot::report::Detail;
use crate::snapshot::{Kind, ObjectKey};
use crate::values::code::Code;

const STEPS: &[&str] = &["Who it is", "Addresses", "Access scopes", "Security"];
const COMMENT: &str = "An app's registration. Committed, it is served within a second.";

/// Offered at a click; any other can be typed.
const SCOPES: &[&str] = &[
    "system/Patient.rs",
    "system/Practitioner.rs",
    "system/Schedule.rs",
    "system/Slot.rs",
    "system/Appointment.rs",
    "system/Appointment.cruds",
    "system/Observation.rs",
    "patient/*.rs",
    "user/*.rs",
    "launch",
    "launch/patient",
    "openid",
    "fhirUser",
    "offline_access",
    "private-api",
];

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let frame = Frame::new(&shared, &model, &visitor, Section::Apps, "Register new app")
        .still()
        .check()
        .kubectl("get smartapps.hearthgate.dev -o yaml");
    let answers = Answers::parse(query.as_deref().unwrap_or_default());
    // With thousands of objects, judging takes a moment: not on a thread that serves others.
    let page = tokio::task::spawn_blocking(move || page(&shared, &model, frame, answers)).await;
    let page = page.map_err(|error| PageError::Form(error.to_string()))?;
    Ok(Html(page.render()?).into_response())
}

/// The YAML as a file.
pub async fn yaml(Extension(visitor): Extension<Visitor>, RawQuery(query): RawQuery) -> Result<Response, PageError> {
    let answers = Answers::parse(query.as_deref().unwrap_or_default());
    let text = draft::yaml(COMMENT, &draft::app(&answers, &visitor.namespace));
    Ok(file(&file_name(answers.text("appId")), text))
}

/// A file to download.
pub fn file(name: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(CONTENT_TYPE, "application/yaml".to_owned()), (CONTENT_DISPOSITION, disposition)], text).into_response()
}

/// Whatever stands in a name that is typed, only letters, digits, dots and hyphens go into a file's name.
pub fn safe(name: &str) -> String {
    name.chars().filter(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '.')).collect()
}

fn file_name(app: &str) -> String {
    format!("{}.app.yaml", safe(app))
}

fn page(shared: &Shared, model: &Model, frame: Frame, answers: Answers) -> FormPage {
    let namespace = frame.namespace.clone();
    let steps = Steps { titles: STEPS, answers };
    let shown = steps.show(
        |step| fields(model, &namespace, &steps.answers, step),
        |step| judge(shared, model, &namespace, &steps.answers, step),
    );
    let hidden = steps.hidden(&shown);
    let review = (shown.step > STEPS.len()).then(|| review(&namespace, &steps.answers, shown.judgement));
    FormPage {
        action: format!("{}/register", frame.base()),
        frame,
        lead: "Nothing is written here: the last step gives YAML to commit.",
        titles: STEPS,
        step: shown.step,
        fields: shown.fields,
        hidden,
        review,
    }
}

fn fields(model: &Model, namespace: &str, answers: &Answers, step: usize) -> Vec<Field> {
    let text = |id, label, hint: &str| Field::text(answers, id, label, hint);
    match step {
        1 => vec![
            text("displayName", "Display name", "Identifies the registration for people.").about(&["spec.displayName"]),
            text("appId", "App ID", "Unique in this environment: lower-case letters, digits and hyphens.")
                .required()
                .about(&["metadata.name"]),
            Field::area(answers, "description", "Description (optional)", "What the app does, for people who meet it in a list.")
                .about(&["spec.description"]),
            text(
                "clientId",
                "Client ID (optional)",
                "Unique on the whole platform, and never changed afterwards. Left empty, one is derived from environment and App ID, the same again after a restore. Give one only if apps in the field know it already.",
            )
            .about(&["spec.clientId"]),
        ],
        2 => vec![
            text("launchUri", "App launch URI", "Where an EHR or portal starts the app. It is checked to be a reachable link once the app is registered. A backend service has none.")
                .about(&["spec.launchUri"]),
            text("healthUri", "App health URI (optional)", "Asked again and again to tell whether the app is healthy. Left empty, the app is not monitored.")
                .about(&["spec.healthUri"]),
            Field::area(answers, "redirectUris", "App redirect URIs", "One a line, compared byte by byte. Needed by apps with users.")
                .about(&["spec.redirectUris"]),
        ],
        3 => vec![
            Field::checks(answers, "scope", "Access scopes", SCOPES).about(&["spec.scopes"]),
            Field::area(answers, "scopes", "Further scopes", "One a line, in SMART v2 or v1 form: system/Patient.rs or system/Patient.read."),
        ],
        4 => security(model, namespace, answers),
        _ => Vec::new(),
    }
}

fn security(model: &Model, namespace: &str, answers: &Answers) -> Vec<Field> {
    let secrets = model.resources.iter().flat_map(|resources| resources.secrets.values());
    let credentials = secrets.filter(|secret| {
        secret.key.namespace == namespace && secret.usage == crate::snapshot::resources::SecretUse::Credential
    });
    let names = credentials.map(|secret| secret.key.name.clone()).collect();
    vec![
        Field::choice(
            answers,
            "clientType",
            "Client type",
            &[
                ("BackendService", "Backend service", "No user at all: OAuth2 client credentials."),
                ("Confidential", "Confidential app", "Has users, and a server that keeps its credentials."),
                ("Public", "Public app", "Runs on a user's device and keeps no secret."),
            ],
        )
        .about(&["spec.clientType"]),
        Field::choice(
            answers,
            "proof",
            "How it proves who it is",
            &[
                (
                    "jwksUri",
                    "Keys that the app publishes",
                    "The best way: the app rotates its keys without a change here.",
                ),
                ("jwks", "Keys in the registration", "Public keys as a JWK Set."),
                ("secret", "A client secret", "Held in a Secret of this environment, never typed in here."),
            ],
        )
        .when("clientType-not-Public"),
        Field::text(answers, "jwksUri", "JWK Set URI", "Where the app publishes its public keys.")
            .when("proof-jwksUri")
            .about(&["spec.jwksUri"]),
        Field::area(answers, "jwks", "JWK Set", "JSON with public keys only: {\"keys\": [ … ]}.")
            .when("proof-jwks")
            .about(&["spec.jwks"]),
        Field::text(
            answers,
            "secretName",
            "Name of the Secret",
            "One that is there, or one that you create afterwards: the last step gives the lines.",
        )
        .offering(names)
        .when("proof-secret")
        .about(&["spec.clientSecrets"]),
        Field::text(
            answers,
            "secretKey",
            "Entry of the Secret",
            "Left empty: secret. At least 16 characters must stand in it.",
        )
        .when("proof-secret"),
    ]
}

/// Judges the draft of the first so many steps. What later steps will say is assumed to be in order.
fn judge(shared: &Shared, model: &Model, namespace: &str, answers: &Answers, step: usize) -> Judgement {
    let (Some(resources), Some(published)) = (&model.resources, &model.published) else { return Judgement::default() };
    let mut document = draft::app(answers, namespace);
    if step < STEPS.len()
        && let Some(spec) = document.get_mut("spec").and_then(serde_json::Value::as_object_mut)
    {
        for field in ["jwks", "clientSecrets"] {
            spec.remove(field);
        }
        spec.insert("clientType".into(), "BackendService".into());
        spec.insert("jwksUri".into(), "https://app.example.org/jwks.json".into());
    }
    let mut judgement = (shared.judge)(&draft::yaml(COMMENT, &document), resources, published);
    let key = ObjectKey::new(namespace, answers.text("appId"));
    if resources.apps.contains_key(&key) {
        judgement.problems.push(Problem {
            is_error: true,
            code: Code::DuplicateObject,
            field: "metadata.name".into(),
            message: format!("there is already an app {} in this environment: choose another App ID", key.name),
        });
    }
    judgement
}

fn review(namespace: &str, answers: &Answers, judgement: Judgement) -> Review {
    let Judgement { problems, reports } = judgement;
    let name = answers.text("appId");
    let document = draft::app(answers, namespace);
    let client_id = reports.iter().find_map(|report| match &report.detail {
        Detail::App { client_id, .. } if report.object.kind == Kind::App => Some(client_id.clone()),
        Detail::App { .. }
        | Detail::DataAdapter { .. }
        | Detail::Gateway { .. }
        | Detail::Activation(_)
        | Detail::Other => None,
    });
    let list = |field: &str| {
        let items = document.pointer(field).and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        items.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join("\n")
    };
    let text = |field: &str| document.pointer(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let rows = [
        ("Display name", text("/spec/displayName")),
        ("App ID", name.to_owned()),
        ("Description", text("/spec/description")),
        ("Client ID", client_id.unwrap_or_else(|| text("/spec/clientId"))),
        ("App launch URI", text("/spec/launchUri")),
        ("App health URI", text("/spec/healthUri")),
        ("App redirect URIs", list("/spec/redirectUris")),
        ("Scopes", list("/spec/scopes")),
        ("Client type", text("/spec/clientType")),
        ("JWK Set URI", text("/spec/jwksUri")),
        ("Client secret in", text("/spec/clientSecrets/0/secretRef/name")),
    ];
    let file = file_name(name);
    let has_secret = document.pointer("/spec/clientSecrets").is_some();
    let (to_come, problems): (Vec<_>, Vec<_>) = problems.into_iter().partition(is_still_to_come);
    let (errors, warnings) = problems.into_iter().partition(|problem| problem.is_error);
    Review {
        rows: rows.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
        errors,
        secrets: if has_secret && !to_come.is_empty() { draft::secret_lines(answers, namespace) } else { Vec::new() },
        to_come,
        warnings,
        yaml: draft::yaml(COMMENT, &document),
        download: format!("{}/register/yaml?{}", base(namespace), answers.query()),
        git: draft::git_lines(&file, &format!("register-{}", safe(name)), &format!("Register app {}", safe(name))),
        kubectl: draft::kubectl_lines(&file),
        further: Some((format!("{}/activate?app={}", base(namespace), safe(name)), "Activate it on a gateway")),
        file,
    }
}
