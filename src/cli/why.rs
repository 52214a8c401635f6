//! `hearthgate why`: whether a request would be let through, and the line that decides.

use std::process::ExitCode;

use annotate_snippets::{Group, Level, Origin};
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::completions;
use super::excerpt::{renderer, snippet};
use super::live::{LiveOptions, among};
use super::offline::{Looked, Offline, Paths};
use super::output::Output;
use super::platform::PlatformOptions;
use super::{Outcome, block_on};
use crate::api::ConditionStatus;
use crate::api::common::condition;
use crate::protocol::why::{Answer, Mark, Outcome as Verdict, Question, RequestLine, Stance, why};
use crate::snapshot::live::LiveStatus;
use crate::snapshot::resources::Location;
use crate::snapshot::{EhrAuthentication, Kind, ObjectKey, ObjectReference};
use crate::values::scope::{Context, ScopeSet};

/// Say whether an app's request would be let through, and which line of YAML decides that.
///
/// The decisions are the proxy's own: gateway and app in order, activation in effect, a token granted, the interaction
/// understood, its scopes held by app, activation and gateway. A path is taken below the gateway's FHIR base, or below
/// the gateway where it begins with api/, oauth2/ or fhir/; a whole URL is fine too. Of an activation for users, the token
/// is that of a launch in which the EHR grants all that it is asked for: with --patient one that is about this patient.
/// Exits with 0 when the request would
/// pass, 1 when it would be refused, 2 when that cannot be told.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate why schedule-sync epic 'GET Patient/1' examples/quickstart\n  hearthgate why schedule-sync epic 'GET Patient?name=Smith' --scope system/Patient.r\n  hearthgate why schedule-sync epic 'POST /api/schedule' -f environments/north -o json\n  hearthgate why growth-chart epic 'GET Observation?patient=eq081' --patient eq081\n  hearthgate why schedule-sync epic 'GET Patient/1' --context production -n north\n  hearthgate why schedule-sync epic 'GET Patient/1' --at 2030-01-31T08:00:00Z ."
)]
pub(super) struct Why {
    /// The app
    #[arg(add = ArgValueCandidates::new(completions::apps))]
    app: String,
    /// The gateway
    #[arg(add = ArgValueCandidates::new(completions::gateways))]
    gateway: String,
    /// Method and path, such as 'GET Patient/1'
    request: RequestLine,
    #[command(flatten)]
    paths: Paths,
    /// What the app's token was asked for [default: all that may be granted]
    #[arg(long)]
    scope: Option<String>,
    /// The patient whose record a user's launch is about, by the EHR's ID; of activations for users
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// The moment, where windows matter (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    platform: PlatformOptions,
    #[command(flatten)]
    live: LiveOptions,
}

/// Why the question cannot be answered.
#[derive(Debug, thiserror::Error)]
enum WhyError {
    /// No object of that name.
    #[error("there is no {kind} {name}{elsewhere}{}", among(.known))]
    NotFound { kind: Kind, name: String, known: Vec<String>, elsewhere: &'static str },
    /// Both are there, in different environments.
    #[error("App {app} and Gateway {gateway} are in different namespaces: an app reaches gateways of its own only")]
    Apart { app: String, gateway: String },
    /// Both are there several times.
    #[error("App {app} and Gateway {gateway} are in several namespaces ({}): choose one with -n", .namespaces.join(", "))]
    Ambiguous { app: String, gateway: String, namespaces: Vec<String> },
}

impl Why {
    pub(super) fn run(self) -> Outcome {
        let Looked { offline, live, .. } = block_on(self.paths.clone().look(&self.live, &self.platform))??;
        let (app, gateway) = self.subjects(&offline, live.is_some())?;
        let question = Question {
            app: &app,
            gateway: &gateway,
            request: &self.request,
            scope: self.scope.as_deref(),
            patient: self.patient.as_deref(),
            now: self.at.unwrap_or_else(Timestamp::now),
        };
        let answer = why(&offline.compiled(), &question);
        let told = Told { offline: &offline, question, answer: &answer, live: live.as_ref() };
        match self.output {
            Output::Text => anstream::println!("{}", told.text()),
            Output::Json => println!("{:#}", told.json()),
        }
        Ok(match answer.outcome {
            Verdict::Permitted(_) => ExitCode::SUCCESS,
            Verdict::Denied { .. } => ExitCode::FAILURE,
        })
    }

    /// The app and the gateway, both in one namespace.
    fn subjects(&self, offline: &Offline, is_live: bool) -> Result<(ObjectKey, ObjectKey), WhyError> {
        let resources = &offline.resources;
        let in_scope = |key: &&ObjectKey| self.live.namespace().is_none_or(|namespace| key.namespace == namespace);
        let apps = resources.apps.keys().filter(in_scope).collect::<Vec<_>>();
        let gateways = resources.gateways.keys().filter(in_scope).collect::<Vec<_>>();
        let elsewhere = if is_live { self.live.elsewhere() } else { " in these files" };
        let known = |kind, name: &String, all: &[&ObjectKey]| -> Result<(), WhyError> {
            if all.iter().any(|key| key.name == *name) {
                return Ok(());
            }
            let known = all.iter().map(|key| key.name.clone()).collect();
            Err(WhyError::NotFound { kind, name: name.clone(), known, elsewhere })
        };
        known(Kind::App, &self.app, &apps)?;
        known(Kind::Gateway, &self.gateway, &gateways)?;
        let both = apps.iter().filter(|key| key.name == self.app);
        let both: Vec<&&ObjectKey> = both.filter(|key| gateways.contains(&&key.sibling(&self.gateway))).collect();
        let (app, gateway) = (self.app.clone(), self.gateway.clone());
        match both.as_slice() {
            [one] => Ok(((**one).clone(), one.sibling(&self.gateway))),
            [] => Err(WhyError::Apart { app, gateway }),
            several => {
                let namespaces = several.iter().map(|key| key.namespace.clone()).collect();
                Err(WhyError::Ambiguous { app, gateway, namespaces })
            }
        }
    }
}

/// An answer on its way to a person or a program.
struct Told<'told> {
    offline: &'told Offline,
    question: Question<'told>,
    answer: &'told Answer,
    live: Option<&'told LiveStatus>,
}

impl Told<'_> {
    fn location(&self, mark: &Mark) -> Option<Location> {
        self.offline.loaded.locate(&mark.object, &mark.field)
    }

    fn text(&self) -> String {
        let Question { app, gateway, request, .. } = self.question;
        let about = format!("{request} by App {app} at Gateway {gateway}");
        let (title, remedy) = match &self.answer.outcome {
            Verdict::Permitted(what) => {
                (Level::INFO.with_name("permitted").primary_title(format!("{about}: {what}")), None)
            }
            Verdict::Denied { code, message } => (
                Level::ERROR.with_name("denied").primary_title(format!("{about}: {message}")).id(format!(
                    "{} {}",
                    code.number(),
                    code.reason()
                )),
                Some(code.remedy()),
            ),
        };
        let decisive = self.answer.decisive();
        let label = decisive.map(sentence);
        let located = decisive.and_then(|mark| self.location(mark));
        let text = located.as_ref().and_then(|location| self.offline.loaded.text_of(&location.file));
        let mut group = match (&located, text) {
            (Some(location), Some(text)) => title.element(snippet(text, location, label.as_deref())),
            (Some(location), None) => {
                title.element(Origin::path(location.file.clone()).line(location.line).char_column(location.column))
            }
            (None, _) => Group::with_title(title).elements(label.as_deref().map(|label| Level::NOTE.message(label))),
        };
        for mark in self.answer.marks.iter().filter(|mark| decisive != Some(*mark)) {
            let at = self.location(mark).map(|location| format!(" ({location})")).unwrap_or_default();
            group = group.element(Level::NOTE.message(format!("{}{at}", sentence(mark))));
        }
        let notes = self.not_ready().into_iter().chain(self.about_patients()).chain(self.offline.assumption());
        group = group.elements(notes.map(|note| Level::NOTE.message(note)));
        group = group.elements(remedy.map(|remedy| Level::HELP.message(remedy)));
        renderer().render(&[group])
    }

    fn json(&self) -> Value {
        let marks = self.answer.marks.iter().map(|mark| {
            let location = self.location(mark);
            json!({
                "kind": mark.object.kind,
                "namespace": mark.object.key.namespace,
                "name": mark.object.key.name,
                "field": mark.field,
                "says": mark.says,
                "stance": mark.stance,
                "decides": self.answer.decisive() == Some(mark),
                "file": location.as_ref().map(|location| &location.file),
                "line": location.as_ref().map(|location| location.line),
                "column": location.as_ref().map(|location| location.column),
            })
        });
        let (permitted, code, message) = match &self.answer.outcome {
            Verdict::Permitted(what) => (true, None, what),
            Verdict::Denied { code, message } => (false, Some(code), message),
        };
        json!({
            "request": self.question.request.to_string(),
            "namespace": self.question.app.namespace,
            "app": self.question.app.name,
            "gateway": self.question.gateway.name,
            "permitted": permitted,
            "code": code.map(|code| code.number()),
            "reason": code.map(|code| code.reason()),
            "message": message,
            "marks": marks.collect::<Vec<_>>(),
            "assumedSecrets": self.offline.assumed.iter().map(|object| object.key.to_string()).collect::<Vec<_>>(),
        })
    }

    /// What the option --patient would do, or does not.
    fn about_patients(&self) -> Option<String> {
        let activation = self.offline.snapshot.activation_of(self.question.gateway, self.question.app)?;
        let is_for_users = matches!(activation.ehr_authentication, EhrAuthentication::User(_));
        match (self.question.patient, is_for_users, &self.answer.outcome) {
            (Some(_), false, _) => {
                Some("--patient says nothing here: no user stands behind the app's tokens".to_owned())
            }
            (None, true, Verdict::Denied { .. }) if holds_patients(&activation.ceiling) => {
                Some("this is a launch without a patient: --patient ID asks about one with".to_owned())
            }
            (Some(_), true, _) | (None, ..) => None,
        }
    }

    /// What a running server says of the activation, where it is not ready.
    fn not_ready(&self) -> Option<String> {
        let activation = self.offline.snapshot.activation_of(self.question.gateway, self.question.app)?;
        let object = ObjectReference::new(Kind::Activation, activation.key.clone());
        let ready = self.live?.get(&object)?.condition(condition::READY)?;
        (ready.status != ConditionStatus::True).then(|| {
            format!("{object} is not ready ({}): `hearthgate status {}` says more", ready.reason, object.key.name)
        })
    }
}

fn holds_patients(scopes: &ScopeSet) -> bool {
    scopes.resources().any(|scope| scope.context == Context::Patient)
}

fn sentence(mark: &Mark) -> String {
    let verb = match mark.stance {
        Stance::Permits => "permits",
        Stance::Denies => "does not permit",
    };
    let field = if mark.field.is_empty() { String::new() } else { format!("{} ", mark.field) };
    format!("{} {verb} it: {field}{}", mark.object, mark.says)
}
