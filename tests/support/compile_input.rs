//! Reads the YAML of `tests/compile/`: objects as people write them, and three directives that keep them short (see
//! `tests/compile/README.md`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearthgate::api;
use hearthgate::snapshot::resources::{ConfigMap, Location, Observed, Rejection, Secret, SecretUse};
use hearthgate::snapshot::{Kind, ObjectKey, ObjectReference, Platform, Report, Resources, Snapshot};
use hearthgate::values::key::{
    Certificate, GatewayIdentity, GatewayKeys, PairIdentity, PairKind, ParsedKeyPair, SigningKey, file,
};
use hearthgate::values::secret::SecretBytes;
use hearthgate::values::url::{AddressPolicy, EndpointUrl};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Where the pairs stand.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile")
}

/// One `*.in.yaml`, read.
pub struct Input {
    pub resources: Resources,
    pub platform: Platform,
    pub now: Timestamp,
    /// Objects that were included: shown only where something is wrong with them.
    pub included: Vec<ObjectReference>,
}

/// The first document, where it has no `kind`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Header {
    platform: PlatformFlags,
    /// `YYYY-MM-DDThh:mm:ssZ`.
    now: Option<Timestamp>,
    /// Files of `tests/compile/include/`, without `.yaml`.
    include: Vec<String>,
    observed: Value,
    rejections: Vec<RejectedEdit>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct PlatformFlags {
    public_url: String,
    allow_address: Vec<String>,
    public_hosts: BTreeMap<String, String>,
    makes_keys: bool,
}

impl Default for PlatformFlags {
    fn default() -> Self {
        Self {
            public_url: "https://hg.example.org".into(),
            allow_address: Vec::new(),
            public_hosts: BTreeMap::new(),
            makes_keys: true,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectedEdit {
    kind: Kind,
    name: String,
    code: String,
    message: String,
    file: String,
    line: usize,
    column: usize,
}

/// Reads a text of `tests/compile/`.
pub fn read(text: &str) -> Input {
    let text = KeyNames::read().to_thumbprints(text);
    let mut documents = documents(&text);
    let header = match documents.first() {
        Some(first) if first.get("kind").is_none() => from_value(documents.remove(0)),
        _ => Header::default(),
    };
    let mut reader = Reader::default();
    for name in &header.include {
        let path = directory().join("include").join(format!("{name}.yaml"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for document in self::documents(&text) {
            reader.add(document);
        }
    }
    let included = references(&reader.resources);
    for document in documents {
        reader.add(document);
    }
    let mut resources = reader.resources;
    resources.observed = if header.observed.is_null() { Observed::default() } else { observed(header.observed) };
    resources.rejections = header.rejections.into_iter().map(rejection).collect();
    let now = header.now.unwrap_or(Timestamp::UNIX_EPOCH);
    Input { resources, platform: platform(header.platform), now, included }
}

fn references(resources: &Resources) -> Vec<ObjectReference> {
    let adapters = resources.data_adapters.keys().map(|key| (Kind::DataAdapter, key));
    let gateways = resources.gateways.keys().map(|key| (Kind::Gateway, key));
    let apps = resources.apps.keys().map(|key| (Kind::App, key));
    adapters.chain(gateways).chain(apps).map(|(kind, key)| ObjectReference::new(kind, key.clone())).collect()
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("no YAML: {error}"))
}

fn from_value<Read: DeserializeOwned>(value: Value) -> Read {
    let shown = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error} in {shown}"))
}

fn platform(flags: PlatformFlags) -> Platform {
    Platform {
        public_url: EndpointUrl::parse(&flags.public_url).unwrap(),
        addresses: AddressPolicy::new(flags.allow_address.iter().map(|range| range.parse().unwrap())),
        public_hosts: flags.public_hosts,
        makes_keys: flags.makes_keys,
    }
}

fn rejection(edit: RejectedEdit) -> Rejection {
    Rejection {
        object: Some(ObjectReference::new(edit.kind, ObjectKey::new("default", edit.name))),
        code: edit.code.parse().unwrap(),
        message: edit.message,
        location: Location { file: edit.file, line: edit.line, column: edit.column },
    }
}

/// `activations: {<name>: {keys: [{revision, thumbprint, state, secretName}], acceptedBefore}}`, `gateways: {<name>: 1}`;
/// a name without a slash is in the namespace `default`.
fn observed(mut value: Value) -> Observed {
    for maps in ["activations", "gateways"] {
        let Some(map) = value.get_mut(maps).and_then(Value::as_object_mut) else { continue };
        *map = std::mem::take(map)
            .into_iter()
            .map(|(name, entry)| (if name.contains('/') { name } else { format!("default/{name}") }, entry))
            .collect();
    }
    let keys = value.get_mut("activations").and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut());
    for key in keys.filter_map(|entry| entry.get_mut("keys")?.as_array_mut()).flatten() {
        key["kid"] = key["thumbprint"].clone();
    }
    from_value(value)
}

#[derive(Default)]
struct Reader {
    resources: Resources,
}

impl Reader {
    fn add(&mut self, mut document: Value) {
        let kind = document["kind"].as_str().expect("a document without kind").to_owned();
        let metadata = document["metadata"].as_object_mut().expect("a document without metadata");
        let name = metadata["name"].as_str().unwrap().to_owned();
        let namespace = metadata.entry("namespace").or_insert("default".into()).as_str().unwrap().to_owned();
        metadata.entry("uid").or_insert(format!("uid-{kind}-{namespace}-{name}").to_lowercase().into());
        metadata.entry("generation").or_insert(1.into());
        document["apiVersion"] = "hearthgate.dev/v1alpha1".into();
        let key = ObjectKey::new(namespace, name);
        match kind.as_str() {
            "DataAdapter" => drop(self.resources.data_adapters.insert(key, Arc::new(from_value(document)))),
            "Gateway" => drop(self.resources.gateways.insert(key, Arc::new(from_value(document)))),
            "App" => drop(self.resources.apps.insert(key, Arc::new(from_value(document)))),
            "Activation" => drop(self.resources.activations.insert(key, Arc::new(from_value(document)))),
            "Secret" => {
                if let Some(secret) = secret(&key, &document) {
                    self.resources.secrets.insert(key, Arc::new(secret));
                }
            }
            "ConfigMap" => {
                if label(&document).is_some() {
                    let data = from_value(document["data"].clone());
                    self.resources.config_maps.insert(key.clone(), Arc::new(ConfigMap { key, data }));
                }
            }
            other => panic!("{other} is no kind that the compiler knows"),
        }
    }
}

fn label(document: &Value) -> Option<&str> {
    document["metadata"]["labels"][api::common::USE_LABEL].as_str()
}

/// A Secret as a source delivers it: `None` without the label.
fn secret(key: &ObjectKey, document: &Value) -> Option<Secret> {
    let mut annotations = BTreeMap::new();
    let mut data = BTreeMap::new();
    let mut usage = match label(document) {
        Some("credential") => Some(SecretUse::Credential),
        Some("key-pair") => Some(SecretUse::KeyPair),
        Some("gateway-signing") => Some(SecretUse::GatewaySigning),
        _ => None,
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(made) = document.get("madePair") {
        let files = key_files(made["key"].as_str().unwrap(), &file::OF_A_PAIR);
        let kind = ParsedKeyPair::from_data(&files).unwrap().kind();
        let identity = PairIdentity {
            app: text(&made["app"]).unwrap(),
            pair: text(&made["pair"]).unwrap(),
            revision: u32::try_from(made["revision"].as_u64().unwrap()).unwrap(),
            kind: PairKind::ALL.into_iter().find(|own| own.key_kind() == kind).unwrap(),
        };
        annotations = identity.annotations();
        data = files;
        usage = usage.or(Some(SecretUse::KeyPair));
    }
    if let Some(made) = document.get("madeGatewayKeys") {
        let identity = GatewayIdentity {
            gateway: text(&made["gateway"]).unwrap(),
            revision: u32::try_from(made["revision"].as_u64().unwrap()).unwrap(),
        };
        annotations = identity.annotations();
        data = key_files(made["key"].as_str().unwrap(), &file::OF_A_GATEWAY);
        usage = usage.or(Some(SecretUse::GatewaySigning));
    }
    for (name, value) in document["metadata"]["annotations"].as_object().into_iter().flatten() {
        match text(value) {
            Some(value) => drop(annotations.insert(name.clone(), value)),
            None => drop(annotations.remove(name)),
        }
    }
    for (name, value) in document["stringData"].as_object().into_iter().flatten() {
        data.insert(name.clone(), SecretBytes::from(text(value).unwrap()));
    }
    for (name, value) in document["data"].as_object().into_iter().flatten() {
        data.insert(name.clone(), SecretBytes::new(STANDARD.decode(text(value).unwrap()).unwrap()));
    }
    for (name, value) in document["keyFiles"].as_object().into_iter().flatten() {
        let path = directory().join("keys").join(text(value).unwrap());
        data.insert(name.clone(), SecretBytes::new(fs::read(path).unwrap()));
    }
    Some(Secret::new(key.clone(), usage?, annotations, data))
}

pub fn key_files(key: &str, names: &[&str]) -> BTreeMap<String, SecretBytes> {
    let directory = directory().join("keys").join(key);
    let read = |name: &str| fs::read(directory.join(name)).unwrap_or_else(|error| panic!("key {key}: {error}"));
    names.iter().map(|name| ((*name).to_owned(), SecretBytes::new(read(name)))).collect()
}

/// The test keys' names, and what stands for them in what the compiler says.
pub struct KeyNames(Vec<(String, String)>);

impl KeyNames {
    pub fn read() -> Self {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory().join("keys")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.join(file::PRIVATE_PEM).exists() {
                let files = key_files(&name, &file::OF_A_PAIR);
                let signing =
                    SigningKey::from_pem(files[file::PRIVATE_PEM].expose(), ParsedKeyPair::ALGORITHMS).unwrap();
                let certificate = Certificate::from_pem(files[file::CERTIFICATE_PEM].expose()).unwrap();
                names.push((format!("<{name}>"), signing.thumbprint().to_string()));
                names.push((format!("<fingerprint of {name}>"), certificate.fingerprint().to_string()));
                names.push((format!("<certificate of {name}>"), certificate.pem().to_owned()));
            } else if path.join(file::ES256_PRIVATE_PEM).exists() {
                let keys = GatewayKeys::from_data(&key_files(&name, &file::OF_A_GATEWAY)).unwrap();
                names.push((format!("<{name}>"), keys.es256.thumbprint().to_string()));
            }
        }
        Self(names)
    }

    fn to_thumbprints(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Writes the names wherever the keys stand.
    pub fn to_names(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                self.0.iter().fold(text.clone(), |text, (name, value)| text.replace(value, name)).into()
            }
            Value::Array(items) => items.iter().map(|item| self.to_names(item)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, member)| (name.clone(), self.to_names(member))).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}

/// What a compilation gave, in the form of the `*.out.yaml` files.
pub fn show(snapshot: &Snapshot, reports: &[Report], now: Timestamp, included: &[ObjectReference]) -> Value {
    let mut view = snapshot.view();
    for adapter in view["dataAdapters"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        // The defaults would be most of every file.
        let defaults = json!({
            "timeouts": api::data_adapter::Timeouts::default(),
            "retry": api::data_adapter::Retry::default(),
            "circuitBreaker": api::data_adapter::CircuitBreaker::default(),
        });
        let adapter = adapter.as_object_mut().unwrap();
        adapter.retain(|name, value| defaults.get(name) != Some(value));
    }
    let is_dull = |report: &&Report| report.findings.is_empty() && included.contains(&report.object);
    for report in reports.iter().filter(is_dull) {
        let section = match report.object.kind {
            Kind::DataAdapter => "dataAdapters",
            Kind::Gateway => "gateways",
            _ => "apps",
        };
        view[section].as_object_mut().unwrap().shift_remove(&report.object.key.to_string());
    }
    let reports: Vec<_> = reports.iter().filter(|own| !is_dull(own)).map(|own| show_report(own, now)).collect();
    json!({ "snapshot": without_empty(view), "reports": reports })
}

fn show_report(report: &Report, now: Timestamp) -> Value {
    let conditions = report.at(now).into_iter().map(|verdict| {
        let of_the_reason = report.findings.iter().filter(|own| own.code.reason() == verdict.reason);
        let is_told_below = of_the_reason.count() > 0
            && report.findings.iter().all(|own| {
                let group =
                    report.findings.iter().find(|own| own.code.reason() == verdict.reason).unwrap().code.group();
                own.code.group() != group || verdict.message.contains(&own.message)
            });
        let holds = verdict.status == api::ConditionStatus::True && verdict.reason == verdict.condition;
        let text = if holds {
            "True".to_owned()
        } else if is_told_below {
            format!("{}, {}", verdict.status.as_str(), verdict.reason)
        } else {
            format!("{}, {}: {}", verdict.status.as_str(), verdict.reason, verdict.message)
        };
        (verdict.condition.to_owned(), Value::String(text))
    });
    let findings = report.findings.iter().map(|own| format!("{} at {}: {}", own.code, own.field, own.message));
    let references = report.references.iter().map(ToString::to_string);
    let mut detail = without_empty(serde_json::to_value(&report.detail).unwrap());
    if let Some(keys) = detail.pointer_mut("/activation/keys").and_then(Value::as_array_mut) {
        for key in keys {
            let since = key["signingSince"].as_str().map_or(String::new(), |since| format!(" since {since}"));
            let certificate = key["certificateFingerprint"].as_str().map_or(String::new(), |own| format!(", {own}"));
            let (revision, name) = (&key["revision"], key["secretName"].as_str().unwrap());
            let (thumbprint, state) = (key["thumbprint"].as_str().unwrap(), key["state"].as_str().unwrap());
            *key = format!("{revision}: {thumbprint} {state}{since} ({name}{certificate})").into();
        }
    }
    without_empty(json!({
        "object": report.object.to_string(),
        "conditions": conditions.collect::<Value>(),
        "findings": findings.collect::<Value>(),
        "rejections": report.rejections.iter().map(|own| format!("{} {}: {}", own.location, own.code, own.message)).collect::<Value>(),
        "references": references.collect::<Value>(),
        "nextChange": report.next_change(now),
        "detail": detail,
    }))
}

fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| (name, without_empty(member)))
            .filter(|(_, member)| match member {
                Value::Null | Value::Bool(false) => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(members) => !members.is_empty(),
                Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
