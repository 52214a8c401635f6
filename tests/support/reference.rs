//! The reference of all fields, made from the CRDs: one table a kind, a row a field.

use std::fmt::Write as _;

use serde_json::Value;

/// What stands above the tables.
const HEAD: &str = "# Reference of the fields\n\n\
    Every field of the four kinds, from the schema that an API server checks. `kubectl explain activation.spec` tells the \
    same in a terminal. `[]` is a list, `{}` a map. Fields in **bold** are required. This page is generated: \
    `UPDATE=1 cargo test --test generated`.\n\n";

/// The page, for CRDs as `hearthgate crds` prints them.
pub fn page(definitions: &str) -> String {
    let mut page = HEAD.to_owned();
    let mut kinds: Vec<Value> = definitions
        .split("\n---\n")
        .map(|text| serde_yaml::from_str(text).unwrap())
        .filter(|definition: &Value| definition["kind"] == "CustomResourceDefinition")
        .collect();
    kinds.sort_by_key(|definition| definition["spec"]["names"]["kind"].as_str().map(str::to_owned));
    assert_eq!(kinds.len(), 4, "the four kinds");
    for definition in &kinds {
        kind(definition, &mut page);
    }
    page.trim_end().to_owned() + "\n"
}

fn kind(definition: &Value, page: &mut String) {
    let names = &definition["spec"]["names"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let _ = writeln!(
        page,
        "## {}\n\n{}\n\n`kubectl get {}` (short: `{}`), `apiVersion: {}/{}`.\n",
        text(&names["kind"]),
        sentence(&schema["description"]),
        text(&names["plural"]),
        text(&names["shortNames"][0]),
        text(&definition["spec"]["group"]),
        text(&version["name"]),
    );
    for part in ["spec", "status"] {
        let schema = &schema["properties"][part];
        let _ = writeln!(page, "### {} {part}\n\n| field | type | meaning |\n|---|---|---|", text(&names["kind"]));
        fields(schema, "", page);
        rules(schema, page);
        page.push('\n');
    }
}

fn fields(schema: &Value, prefix: &str, page: &mut String) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let shown = if required.contains(&name.as_str()) { format!("**`{path}`**") } else { format!("`{path}`") };
        let _ = writeln!(page, "| {shown} | {} | {} |", type_of(field), cell(&meaning(field)));
        let (inner, marks) = within(field);
        fields(inner, &format!("{path}{marks}."), page);
    }
}

/// The schema of what a list or map holds, with the marks that say how deep it lies.
fn within(mut schema: &Value) -> (&Value, String) {
    let mut marks = String::new();
    loop {
        if schema["items"].is_object() {
            marks.push_str("[]");
            schema = &schema["items"];
        } else if schema["additionalProperties"].is_object() {
            marks.push_str("{}");
            schema = &schema["additionalProperties"];
        } else {
            return (schema, marks);
        }
    }
}

fn type_of(schema: &Value) -> String {
    let (inner, marks) = within(schema);
    let name = inner["type"].as_str().unwrap_or("any");
    let name = match inner["format"].as_str() {
        Some("date-time") => "time",
        Some(_) | None => name,
    };
    format!("{name}{marks}")
}

fn meaning(schema: &Value) -> String {
    let mut text = sentence(&schema["description"]);
    let (inner, _) = within(schema);
    // An enum of numbers is told by the description, in words.
    if let Some(choices) = inner["enum"].as_array().filter(|choices| choices.iter().all(Value::is_string)) {
        let choices: Vec<String> =
            choices.iter().filter_map(Value::as_str).map(|choice| format!("`{choice}`")).collect();
        let _ = write!(text, " One of {}.", choices.join(", "));
    }
    let bounds = (inner["minimum"].as_f64(), inner["maximum"].as_f64());
    if let (Some(least), Some(most)) = bounds {
        let _ = write!(text, " {least} to {most}.");
    }
    if let Some(default) = schema.get("default").filter(|default| default.is_string() || default.is_number()) {
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let _ = write!(text, " Default: `{default}`.");
    }
    text
}

/// The rules between fields, as an API server says them when they are broken.
fn rules(schema: &Value, page: &mut String) {
    let mut messages: Vec<String> = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["message"].as_str().map(str::to_owned))
        .collect();
    messages.dedup();
    if !messages.is_empty() {
        page.push_str("\nRules between fields:\n\n");
        for message in messages {
            let _ = writeln!(page, "- {message}");
        }
    }
}

fn sentence(description: &Value) -> String {
    description.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
