//! "Activate": an app on a gateway, with the way in which Hearthgate proves itself to the EHR for it.

use askama::Template as _;
use axum::Extension;
use axum::extract::{RawQuery, State as Extract};
use axum::response::{Html, IntoResponse, Response};

use super::register::{file, safe};
use crate::console::access::Visitor;
use crate::console::draft;
use crate::console::error::PageError;
use crate::console::form::{Answers, Field, FormPage, Review, Steps, is_still_to_come};
use crate::console::frame::{Frame, Section, base};
use crate::console::model::Model;
use crate::console::{Judgement, Problem, Shared};
use crate::snapshot::{Kind, ObjectKey};
use crate::values::code::Code;

const STEPS: &[&str] = &["App and gateway", "EHR authentication", "Credentials at the EHR"];
const COMMENT: &str =
    "One app on one gateway. Committed, its key is made, and its nextStep says what to register at the EHR.";

pub async fn get(
    Extract(shared): Extract<Shared>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let model = shared.model.borrow().clone();
    let frame = Frame::new(&shared, &model, &visitor, Section::Activations, "Activate an app")
        .still()
        .check()
        .kubectl("get activations.hearthgate.dev -o yaml");
    let answers = Answers::parse(query.as_deref().unwrap_or_default());
    let page = tokio::task::spawn_blocking(move || page(&shared, &model, frame, answers)).await;
    let page = page.map_err(|error| PageError::Form(error.to_string()))?;
    Ok(Html(page.render()?).into_response())
}

/// The YAML as a file.
pub async fn yaml(Extension(visitor): Extension<Visitor>, RawQuery(query): RawQuery) -> Result<Response, PageError> {
    let answers = Answers::parse(query.as_deref().unwrap_or_default());
    let text = draft::yaml(COMMENT, &draft::activation(&answers, &visitor.namespace));
    Ok(file(&file_name(&answers), text))
}

fn file_name(answers: &Answers) -> String {
    format!("{}.activation.yaml", safe(&draft::activation_name(answers)))
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
        action: format!("{}/activate", frame.base()),
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
    let names = |kind| model.of_kind(kind, namespace).map(|live| live.object.key.name.clone()).collect::<Vec<_>>();
    match step {
        1 => vec![
            Field::text(answers, "app", "App", "Its App ID.")
                .offering(names(Kind::App))
                .required()
                .about(&["spec.appRef"]),
            Field::text(answers, "gateway", "Gateway", "Where the app is to reach the EHR.")
                .offering(names(Kind::Gateway))
                .required()
                .about(&["spec.gatewayRef"]),
            Field::text(answers, "name", "Name (optional)", "Left empty: the app's and the gateway's, joined.")
                .about(&["metadata.name"]),
            Field::area(
                answers,
                "ceiling",
                "Scopes at most (optional)",
                "One a line. Left empty: what the app asks for, as far as the gateway lets it.",
            )
            .about(&["spec.scopes"]),
        ],
        2 => vec![
            Field::choice(
                answers,
                "method",
                "EHR authentication type",
                &[
                    (
                        "backendAuth",
                        "System: backend auth",
                        "A signed JWT (SMART Backend Services). Hearthgate makes the key pair.",
                    ),
                    (
                        "clientCredentials",
                        "System: client secret",
                        "OAuth2 client credentials with a secret that the EHR gave.",
                    ),
                    ("basic", "System: HTTP Basic", "User and password on every FHIR call."),
                    ("none", "System: none", "An open FHIR server."),
                    ("user", "User", "A user of the EHR logs in there (SMART App Launch)."),
                ],
            )
            .about(&["spec.ehrAuthentication.type"]),
        ],
        3 => credentials(answers),
        _ => Vec::new(),
    }
}

/// A field of the credentials: its name, label and hint, and what it stands for.
type Said = (&'static str, &'static str, &'static str, &'static [&'static str]);

const CLIENT_ID: &[&str] = &[
    "spec.ehrAuthentication.system.backendAuth.clientId",
    "spec.ehrAuthentication.system.clientCredentials.clientId",
    "spec.ehrAuthentication.user.clientId",
];
const SECRET: Said = (
    "secretName",
    "Name of the Secret with it",
    "Of this environment; what is in it is never typed in here.",
    &[
        "spec.ehrAuthentication.system.clientCredentials.clientSecretRef",
        "spec.ehrAuthentication.system.basic.clientSecretRef",
        "spec.ehrAuthentication.user.clientSecretRef",
    ],
);
const SECRET_KEY: Said = ("secretKey", "Entry of the Secret", "Left empty: secret.", &[]);
const TOKEN_URL: Said = (
    "tokenUrl",
    "Token URL (optional)",
    "Left empty: the data adapter's, else what the EHR's SMART configuration says.",
    &[
        "spec.ehrAuthentication.system.backendAuth.tokenUrl",
        "spec.ehrAuthentication.system.clientCredentials.tokenUrl",
        "spec.ehrAuthentication.user.tokenUrl",
    ],
);
const APP_NAME: Said = (
    "appName",
    "App name (optional)",
    "The vendor's name of the app; it stands in the certificate.",
    &["spec.ehrAuthentication.system.backendAuth.appName"],
);
const PAIR_NAME: Said = (
    "keyPairName",
    "Name of the key pair (optional)",
    "Activations of one app may share a pair: give both the same name. Left empty: this activation's own.",
    &["spec.ehrAuthentication.system.backendAuth.keyPair"],
);

fn credentials(answers: &Answers) -> Vec<Field> {
    let text = |(id, label, hint, about): Said| Field::text(answers, id, label, hint).about(about);
    let client_id = |hint| text(("ehrClientId", "Client ID", hint, CLIENT_ID));
    let choice = |id, label, options: &[(&str, &str, &'static str)]| Field::choice(answers, id, label, options);
    let scopes = || {
        Field::area(answers, "ehrScopes", "Scopes to ask the EHR for (optional)", "One a line.").about(&[
            "spec.ehrAuthentication.system.backendAuth.scopes",
            "spec.ehrAuthentication.system.clientCredentials.scopes",
            "spec.ehrAuthentication.user.scopes",
        ])
    };
    match answers.given("method").unwrap_or("backendAuth") {
        "clientCredentials" => {
            let ways = [
                ("client_secret_basic", "In the Authorization header", ""),
                ("client_secret_post", "In the form body", ""),
            ];
            vec![
                client_id("That the EHR gave, with a client secret."),
                text(SECRET),
                text(SECRET_KEY),
                choice("authMethod", "How the secret is sent", &ways),
                text(TOKEN_URL),
                scopes(),
            ]
        }
        "basic" => vec![text(SECRET), text(SECRET_KEY)],
        "none" => Vec::new(),
        "user" => {
            let ways = [
                ("key", "With a key pair that Hearthgate makes", ""),
                ("secret", "With a client secret that the EHR gave", ""),
                ("none", "Not at all: a public client of the EHR", ""),
            ];
            vec![
                client_id("That the EHR's vendor gave."),
                choice("credential", "How Hearthgate proves itself", &ways),
                text(SECRET).when("credential-secret"),
                text(SECRET_KEY).when("credential-secret"),
                text(TOKEN_URL),
                scopes(),
            ]
        }
        _ => {
            let kinds = [
                ("RS384", "RSA, RS384", "What every EHR takes."),
                ("ES384", "Elliptic curve, ES384", "Shorter and faster, where the EHR takes it."),
            ];
            vec![
                client_id(
                    "From the EHR's vendor. May stay empty until they give it: the key pair is made before, since they ask for it.",
                ),
                text(APP_NAME),
                text(TOKEN_URL),
                scopes(),
                choice("algorithm", "Key pair", &kinds),
                text(PAIR_NAME),
            ]
        }
    }
}

/// Judges the draft of the first so many steps. What later steps will say is assumed to be in order.
fn judge(shared: &Shared, model: &Model, namespace: &str, answers: &Answers, step: usize) -> Judgement {
    let (Some(resources), Some(published)) = (&model.resources, &model.published) else { return Judgement::default() };
    let mut document = draft::activation(answers, namespace);
    if step < STEPS.len()
        && let Some(spec) = document.get_mut("spec").and_then(serde_json::Value::as_object_mut)
    {
        spec.insert("ehrAuthentication".into(), serde_json::json!({ "type": "System", "system": { "none": {} } }));
    }
    let mut judgement = (shared.judge)(&draft::yaml(COMMENT, &document), resources, published);
    let key = ObjectKey::new(namespace, draft::activation_name(answers));
    if resources.activations.contains_key(&key) {
        judgement.problems.push(Problem {
            is_error: true,
            code: Code::DuplicateObject,
            field: "metadata.name".into(),
            message: format!("there is already an activation {} in this environment: give another name", key.name),
        });
    }
    judgement
}

fn review(namespace: &str, answers: &Answers, judgement: Judgement) -> Review {
    let problems = judgement.problems;
    let name = draft::activation_name(answers);
    let document = draft::activation(answers, namespace);
    let rows = [
        ("App", answers.text("app").to_owned()),
        ("Gateway", answers.text("gateway").to_owned()),
        ("Name", name.clone()),
        ("Scopes at most", answers.list("ceiling").join("\n")),
        ("EHR authentication", answers.given("method").unwrap_or("backendAuth").to_owned()),
        ("Client ID at the EHR", answers.text("ehrClientId").to_owned()),
        ("App name at the EHR", answers.text("appName").to_owned()),
        ("Token URL", answers.text("tokenUrl").to_owned()),
        ("Secret", answers.text("secretName").to_owned()),
    ];
    let file = file_name(answers);
    let lacks_secret = problems.iter().any(|problem| problem.code == Code::SecretNotFound);
    let (to_come, problems): (Vec<_>, Vec<_>) = problems.into_iter().partition(is_still_to_come);
    let (errors, warnings) = problems.into_iter().partition(|problem| problem.is_error);
    Review {
        rows: rows.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
        errors,
        secrets: if lacks_secret { draft::secret_lines(answers, namespace) } else { Vec::new() },
        to_come,
        warnings,
        yaml: draft::yaml(COMMENT, &document),
        download: format!("{}/activate/yaml?{}", base(namespace), answers.query()),
        git: draft::git_lines(&file, &format!("activate-{}", safe(&name)), &format!("Activate {}", safe(&name))),
        kubectl: draft::kubectl_lines(&file),
        further: Some((format!("{}/activations", base(namespace)), "See the activations")),
        file,
    }
}
