//! `hearthgate status`: the chain of each activation, root cause first.

use std::fmt::Write as _;
use std::process::ExitCode;

use anstream::{print, println};
use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::completions;
use super::live::{LiveError, LiveOptions};
use super::output::Output;
use super::style::{BAD, BUSY, GOOD};
use super::{Outcome, block_on};
use crate::api::common::condition;
use crate::api::{ActivationStatus, ConditionStatus};
use crate::snapshot::live::{LiveObject, LiveStatus};
use crate::snapshot::{Kind, ObjectReference};

/// Show each activation with the chain that it hangs on: what works, the root cause of what does not, and the next step.
///
/// Exits with 1 when something that was asked for is not ready.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate status\n  hearthgate status schedule-sync-at-epic\n  hearthgate status epic -o json"
)]
pub(super) struct Status {
    /// An activation, app, gateway or adapter [default: everything]
    #[arg(add = ArgValueCandidates::new(completions::anything))]
    name: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    live: LiveOptions,
}

impl Status {
    pub(super) fn run(self) -> Outcome {
        let status = block_on(self.live.status())??;
        let shown = self.shown(&status)?;
        match self.output {
            Output::Json => {
                let objects: Vec<_> = shown.iter().map(|live| as_json(live)).collect();
                println!("{:#}", serde_json::json!({ "objects": objects }));
            }
            Output::Text => print_text(&status, &shown, self.live.elsewhere()),
        }
        let all_ready = shown.iter().all(|live| live.is_ready());
        Ok(if all_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The objects that were asked for: all, or the one that is named with the activations that hang on it.
    fn shown<'status>(&self, status: &'status LiveStatus) -> Result<Vec<&'status LiveObject>, LiveError> {
        const KINDS: [Kind; 4] = [Kind::Activation, Kind::App, Kind::Gateway, Kind::DataAdapter];
        let in_scope = |live: &&LiveObject| {
            KINDS.contains(&live.object.kind)
                && self.live.namespace().is_none_or(|namespace| live.object.key.namespace == namespace)
        };
        let Some(name) = &self.name else { return Ok(status.objects.iter().filter(in_scope).collect()) };
        let mut found = None;
        for kind in KINDS {
            match self.live.find(status, &[kind], name) {
                Ok(live) => {
                    found = Some(live);
                    break;
                }
                Err(LiveError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(named) = found else { return self.live.find(status, &KINDS, name).map(|live| vec![live]) };
        let mut shown = vec![named];
        shown.extend(status.objects.iter().filter(|live| {
            live.object != named.object && live.object.kind == Kind::Activation && status.hangs_on(live, &named.object)
        }));
        Ok(shown)
    }
}

fn as_json(live: &LiveObject) -> serde_json::Value {
    serde_json::json!({
        "kind": live.object.kind,
        "namespace": live.object.key.namespace,
        "name": live.object.key.name,
        "references": live.references,
        "status": live.status,
    })
}

fn print_text(status: &LiveStatus, shown: &[&LiveObject], elsewhere: &str) {
    for rejection in &status.rejections {
        let at = &rejection.location;
        let about = rejection.object.as_ref().map(|object| format!(" ({object} stays as it was)")).unwrap_or_default();
        println!("{BAD}refused edit{BAD:#} {}:{}:{}: {}{about}", at.file, at.line, at.column, rejection.message);
    }
    if !status.rejections.is_empty() {
        println!();
    }
    let (activations, others): (Vec<&LiveObject>, Vec<&LiveObject>) =
        shown.iter().partition(|live| live.object.kind == Kind::Activation);
    let told: Vec<&ObjectReference> = activations.iter().flat_map(|live| status.chain(live)).collect();
    let mut texts: Vec<String> = activations.into_iter().map(|live| activation_text(status, live)).collect();
    let others = others.into_iter().filter(|live| !told.contains(&&live.object));
    let others: Vec<String> = others.map(|live| format!("{}{}", line(live, 0), faults(live, 2, ""))).collect();
    if !others.is_empty() {
        texts.push(others.concat());
    }
    print!("{}", texts.join("\n"));
    if shown.is_empty() {
        println!("nothing is there yet{elsewhere}");
    }
}

fn activation_text(status: &LiveStatus, live: &LiveObject) -> String {
    let mut text = line(live, 0);
    let details: ActivationStatus = live.status_as();
    let cause = status.root_cause(live);
    // Where the fault is another object's, its remedy is the step; what this one says of it would only point there.
    let elsewhere = cause.as_ref().filter(|cause| *cause.object() != live.object);
    let next_step = match elsewhere {
        Some(cause) => cause.code().map(|code| code.remedy().to_owned()),
        None => details.next_step.clone(),
    };
    if let Some(cause) = &cause {
        let _ = writeln!(text, "  {BAD}root cause{BAD:#}  {cause}");
    }
    if let Some(next_step) = next_step {
        let _ = writeln!(text, "  {BUSY}next step{BUSY:#}   {next_step}");
    }
    if elsewhere.is_none() {
        text.push_str(&faults(live, 2, &cause.map(|cause| cause.to_string()).unwrap_or_default()));
    }
    if let Some((first, others)) = details.likely_causes.split_first() {
        let _ = writeln!(text, "  likely because  {}", first.hint);
        for other in others {
            let _ = writeln!(text, "             or  {}", other.hint);
        }
    }
    for reference in status.chain(live) {
        match status.get(reference) {
            Some(next) => text.push_str(&line(next, 2)),
            None => {
                let _ = writeln!(text, "  {BAD}✗{BAD:#} {reference}  does not exist");
            }
        }
    }
    if let Some(connection) = &details.connection {
        let _ = writeln!(text, "    client ID  {}", connection.client_id);
        let _ = writeln!(text, "    token URL  {}", connection.token_url);
        let _ = writeln!(text, "    FHIR base  {}", connection.fhir_base_url);
        let _ = writeln!(text, "    scopes     {}", connection.granted_scopes.join(" "));
    }
    for dropped in &details.dropped_scopes {
        let _ = writeln!(text, "    dropped    {} by {}", dropped.scope, dropped.dropped_by);
    }
    if let Some(url) = &details.jwks_url {
        let _ = writeln!(text, "    JWKS URL   {url}");
    }
    for key in &details.keys {
        let _ = writeln!(text, "    key {:<6} {:?} {}", key.revision, key.state, key.thumbprint);
    }
    text
}

/// One object in one line.
fn line(live: &LiveObject, indent: usize) -> String {
    let ready = live.condition(condition::READY);
    let (mark, style) = match ready.map(|condition| condition.status) {
        Some(ConditionStatus::True) => ("✓", GOOD),
        Some(ConditionStatus::False) => ("✗", BAD),
        Some(ConditionStatus::Unknown) | None => ("…", BUSY),
    };
    let reason = ready.map_or("Unknown", |condition| condition.reason.as_str());
    format!("{:indent$}{style}{mark}{style:#} {}  {reason}\n", "", live.object)
}

/// The conditions that do not hold, each in one line, but for what was told already.
fn faults(live: &LiveObject, indent: usize, told: &str) -> String {
    let mut text = String::new();
    for condition in live.faults() {
        if !told.contains(&condition.message) {
            let _ = writeln!(
                text,
                "{:indent$}{BAD}{}{BAD:#} {}: {}",
                "", condition.type_, condition.reason, condition.message
            );
        }
    }
    text
}
