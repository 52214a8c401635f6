//! `hearthgate access`: the auditor's matrix.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::json;

use super::completions;
use super::live::LiveOptions;
use super::offline::{Looked, Offline, Paths};
use super::platform::PlatformOptions;
use super::{Outcome, block_on};
use crate::protocol::why::{Outcome as Verdict, Question, RequestLine, why};
use crate::snapshot::ObjectKey;
use crate::snapshot::access::{Access, State, access};

/// List which app may do what at which gateway: for audits, and for whoever asks who can read what.
///
/// Each activation is a line, with the scopes that its tokens can hold at most (what app, activation and gateway all
/// permit), and whether it has effect. With --may, only apps whose request of that kind would be let through.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate access examples/quickstart\n  hearthgate access environments -o csv > access.csv\n  hearthgate access environments --may 'GET Patient/1'\n  hearthgate access environments --at 2030-01-31T08:00:00Z -o markdown"
)]
pub(super) struct AccessCommand {
    #[command(flatten)]
    paths: Paths,
    /// Only this app
    #[arg(long, add = ArgValueCandidates::new(completions::apps))]
    app: Option<String>,
    /// Only this gateway
    #[arg(long, add = ArgValueCandidates::new(completions::gateways))]
    gateway: Option<String>,
    /// Only who may send this, such as 'GET Patient/1'
    #[arg(long, value_name = "REQUEST")]
    may: Option<RequestLine>,
    /// With --may, of activations for users: the patient whose record the launch is about
    #[arg(long, value_name = "ID", requires = "may")]
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A table
    Text,
    /// For a spreadsheet
    Csv,
    /// For programs
    Json,
    /// For a document
    Markdown,
}

const HEAD: [&str; 10] =
    ["namespace", "app", "client ID", "gateway", "EHR", "activation", "state", "acts as", "may", "window"];

impl AccessCommand {
    pub(super) fn run(self) -> Outcome {
        let Looked { offline, .. } = block_on(self.paths.clone().look(&self.live, &self.platform))??;
        let now = self.at.unwrap_or_else(Timestamp::now);
        let mut all = access(&offline.compiled(), now);
        all.retain(|own| self.wants(own, &offline, now));
        match self.output {
            Output::Text => anstream::println!("{}", table(&all)),
            Output::Csv => print!("{}", csv(&all)),
            Output::Json => println!("{:#}", json!({ "at": now, "access": all })),
            Output::Markdown => print!("{}", markdown(&all)),
        }
        if let Some(note) = offline.assumption() {
            anstream::eprintln!("note: {note}");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn wants(&self, own: &Access, offline: &Offline, now: Timestamp) -> bool {
        self.live.namespace().is_none_or(|namespace| own.namespace == namespace)
            && self.app.as_ref().is_none_or(|app| own.app == *app)
            && self.gateway.as_ref().is_none_or(|gateway| own.gateway == *gateway)
            && self.may.as_ref().is_none_or(|request| may(own, offline, request, self.patient.as_deref(), now))
    }
}

/// Whether the app's request would be let through: the same decision as that of `why`.
fn may(own: &Access, offline: &Offline, request: &RequestLine, patient: Option<&str>, now: Timestamp) -> bool {
    let (app, gateway) = (ObjectKey::new(&own.namespace, &own.app), ObjectKey::new(&own.namespace, &own.gateway));
    let question = Question { app: &app, gateway: &gateway, request, scope: None, patient, now };
    own.state == State::InEffect && matches!(why(&offline.compiled(), &question).outcome, Verdict::Permitted(_))
}

fn cells(own: &Access) -> [String; 10] {
    let window =
        [own.not_before.map(|time| format!("from {time}")), own.expires_at.map(|time| format!("until {time}"))];
    let window: Vec<String> = window.into_iter().flatten().collect();
    [
        own.namespace.clone(),
        own.app.clone(),
        own.client_id.clone(),
        own.gateway.clone(),
        own.ehr.clone(),
        own.activation.clone(),
        match &own.state {
            State::InEffect | State::NotLive(_) => own.state.word().to_owned(),
            State::Faulty { code, .. } => format!("faulty ({})", code.number()),
        },
        format!("{:?}", own.acts),
        may_do(own).join(" "),
        window.join(" "),
    ]
}

/// Scopes first, then what they open besides FHIR's interactions.
fn may_do(own: &Access) -> Vec<String> {
    let scopes = own.scopes.iter().map(ToString::to_string);
    let private_apis = own.private_apis.iter().map(|what| format!("[private API: {what}]"));
    scopes.chain(own.operations.iter().cloned()).chain(private_apis).collect()
}

fn table(all: &[Access]) -> String {
    if all.is_empty() {
        return "no app has access".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["app", "gateway", "state", "may"]);
    for own in all {
        let [namespace, app, client_id, gateway, ehr, _, state, acts, _, window] = cells(own);
        let lines =
            |lines: &[String]| lines.iter().filter(|line| !line.is_empty()).cloned().collect::<Vec<_>>().join("\n");
        table.add_row([
            lines(&[format!("{namespace}/{app}"), client_id]),
            lines(&[gateway, ehr]),
            lines(&[format!("{state}, as {acts}"), window]),
            lines(&may_do(own)),
        ]);
    }
    table.trim_fmt()
}

fn csv(all: &[Access]) -> String {
    let lines = std::iter::once(HEAD.map(str::to_owned)).chain(all.iter().map(cells));
    lines.map(|cells| cells.map(|cell| quoted(&cell)).join(",") + "\r\n").collect()
}

/// RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe: names come from whoever may propose
/// YAML.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

fn markdown(all: &[Access]) -> String {
    let line = |cells: [String; 10]| format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    let head = line(HEAD.map(str::to_owned));
    let rows: String = all.iter().map(|own| line(cells(own))).collect();
    format!("{head}|{}\n{rows}", "---|".repeat(HEAD.len()))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_cell_is_quoted_and_never_a_formula() {
        assert_eq!(quoted("plain"), "\"plain\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
    }
}
