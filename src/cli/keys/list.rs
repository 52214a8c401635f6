//! `hearthgate keys list`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::super::Outcome;
use super::super::members::members;
use super::Place;
use crate::keys::KeySecret;
use crate::values::key::{GatewayKeys, ParsedKeyPair, annotation, secret_type};

/// List the keys that there are: whose they are, and their thumbprints. Nothing secret is shown.
///
/// Exits with 1 where a key is damaged.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hearthgate keys list\n  hearthgate keys list -n cardiology -o json\n  hearthgate keys list --state clinic/.hearthgate"
)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A table
    Text,
    /// For programs
    Json,
}

/// What may be shown of a key.
struct Shown {
    namespace: String,
    name: String,
    /// For whom it was made.
    owner: String,
    revision: Option<String>,
    thumbprints: Vec<String>,
    fingerprint: Option<String>,
}

impl List {
    pub(super) fn run(self) -> Outcome {
        let (listing, name) = self.place.list()?;
        let shown: Vec<Shown> = listing.keys.iter().map(Shown::of).collect();
        match self.output {
            Output::Json => {
                let keys: Vec<Value> = shown.iter().map(Shown::json).collect();
                let damaged: Vec<String> = listing.damaged.iter().map(ToString::to_string).collect();
                println!("{:#}", json!({ "keys": keys, "damaged": damaged }));
            }
            Output::Text if shown.is_empty() => println!("there is no key in {name}"),
            Output::Text => println!("{}", table(&shown)),
        }
        for damage in &listing.damaged {
            anstream::eprintln!("damaged: {damage}");
        }
        Ok(if listing.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Shown {
    fn of(key: &KeySecret) -> Self {
        let annotation = |name: &str| key.annotations.get(name).cloned();
        let (owner, thumbprints, fingerprint) = if key.secret_type == secret_type::KEY_PAIR {
            let owner = annotation(annotation::APP)
                .map_or_else(|| "a key that was brought".to_owned(), |app| format!("App {app}"));
            let parsed = ParsedKeyPair::from_data(&key.data).ok();
            let thumbprint = parsed.as_ref().map(|pair| pair.thumbprint().to_string());
            let fingerprint = parsed.as_ref().and_then(|pair| Some(pair.certificate()?.fingerprint().to_string()));
            (owner, thumbprint.into_iter().collect(), fingerprint)
        } else {
            let owner =
                annotation(annotation::GATEWAY).map_or_else(String::new, |gateway| format!("Gateway {gateway}"));
            let keys = GatewayKeys::from_data(&key.data).ok();
            let thumbprints = keys.iter().flat_map(|keys| [&keys.es256, &keys.rs256]);
            (owner, thumbprints.map(|key| key.public().thumbprint().to_string()).collect(), None)
        };
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        Self { namespace, name, owner, revision: annotation(annotation::REVISION), thumbprints, fingerprint }
    }

    fn json(&self) -> Value {
        members([
            ("namespace", json!(self.namespace)),
            ("name", json!(self.name)),
            ("owner", json!(self.owner)),
            ("revision", json!(self.revision.as_ref().and_then(|revision| revision.parse::<u32>().ok()))),
            ("thumbprints", json!(self.thumbprints)),
            ("certificateFingerprint", json!(self.fingerprint)),
        ])
    }
}

fn table(keys: &[Shown]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["key", "of", "thumbprint"]);
    for key in keys {
        table.add_row([format!("{}/{}", key.namespace, key.name), key.owner.clone(), key.thumbprints.join("\n")]);
    }
    table.trim_fmt()
}
