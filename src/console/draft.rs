//! Answers of a form → the object that they describe, as YAML to commit. Fields without an answer are left out.

use serde_json::{Map, Value, json};

use super::form::Answers;
use crate::api::common::{GROUP, VERSION};

/// An object with only what was given.
fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let is_given = |value: &Value| match value {
        Value::Null => false,
        Value::Array(array) => !array.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => true,
    };
    let members = members.into_iter().filter(|(_, value)| is_given(value));
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn document(kind: &str, name: &str, namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind,
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

/// As a file; `comment` stands at its top.
pub fn yaml(comment: &str, document: &Value) -> String {
    // Plain data: writing it as YAML cannot fail.
    format!("# {comment}\n{}", serde_yaml::to_string(document).unwrap_or_default())
}

fn secret_reference(answers: &Answers) -> Value {
    json!({ "name": answers.text("secretName"), "key": answers.given("secretKey").unwrap_or("secret") })
}

/// The App of the registration form.
pub fn app(answers: &Answers, namespace: &str) -> Value {
    let client_type = answers.given("clientType").unwrap_or("BackendService");
    let proof = if client_type == "Public" { "" } else { answers.given("proof").unwrap_or("jwksUri") };
    let of_proof = |kind: &str, value: Value| if proof == kind { value } else { Value::Null };
    let jwks = answers.given("jwks").map(|text| serde_json::from_str(text).unwrap_or_else(|_| text.into()));
    let secrets = json!([{ "secretRef": secret_reference(answers) }]);
    let spec = object([
        ("displayName", json!(answers.given("displayName"))),
        ("description", json!(answers.given("description"))),
        ("clientId", json!(answers.given("clientId"))),
        ("clientType", client_type.into()),
        ("launchUri", json!(answers.given("launchUri"))),
        ("redirectUris", json!(answers.list("redirectUris"))),
        ("healthUri", json!(answers.given("healthUri"))),
        ("scopes", json!(scopes(answers))),
        ("jwks", of_proof("jwks", json!(jwks.unwrap_or_else(|| json!({}))))),
        ("jwksUri", of_proof("jwksUri", json!(answers.text("jwksUri")))),
        ("clientSecrets", of_proof("secret", secrets)),
    ]);
    document("App", answers.text("appId"), namespace, &spec)
}

/// The chosen scopes and the typed ones, each once.
fn scopes(answers: &Answers) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in answers.list("scope").into_iter().chain(answers.list("scopes")) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

/// The name of the Activation: the given one, else that of the two that it joins.
pub fn activation_name(answers: &Answers) -> String {
    let joined = || format!("{}-at-{}", answers.text("app"), answers.text("gateway"));
    answers.given("name").map_or_else(joined, str::to_owned)
}

/// The Activation of the form.
pub fn activation(answers: &Answers, namespace: &str) -> Value {
    let method = answers.given("method").unwrap_or("backendAuth");
    let client_id = json!(answers.given("ehrClientId"));
    let token_url = json!(answers.given("tokenUrl"));
    let ehr_scopes = json!(answers.list("ehrScopes"));
    let key_pair = || {
        let algorithm = answers.given("algorithm").filter(|algorithm| *algorithm != "RS384");
        let key_pair = object([("name", json!(answers.given("keyPairName"))), ("algorithm", json!(algorithm))]);
        if key_pair.as_object().is_some_and(Map::is_empty) { Value::Null } else { key_pair }
    };
    let system = |method: &'static str, settings: Value| json!({ "type": "System", "system": { method: settings } });
    let ehr_authentication = match method {
        "clientCredentials" => system(
            "clientCredentials",
            object([
                ("clientId", json!(answers.text("ehrClientId"))),
                ("clientSecretRef", secret_reference(answers)),
                ("tokenUrl", token_url),
                ("tokenEndpointAuthMethod", json!(answers.given("authMethod"))),
                ("scopes", ehr_scopes),
            ]),
        ),
        "basic" => system("basic", json!({ "clientSecretRef": secret_reference(answers) })),
        "none" => system("none", json!({})),
        "user" => {
            let credential = answers.given("credential").unwrap_or("none");
            json!({ "type": "User", "user": object([
                ("clientId", json!(answers.text("ehrClientId"))),
                ("clientSecretRef", if credential == "secret" { secret_reference(answers) } else { Value::Null }),
                ("keyPair", if credential == "key" { json!({}) } else { Value::Null }),
                ("scopes", ehr_scopes),
                ("tokenUrl", token_url),
            ]) })
        }
        _ => system(
            "backendAuth",
            object([
                ("clientId", client_id),
                ("appName", json!(answers.given("appName"))),
                ("tokenUrl", token_url),
                ("scopes", ehr_scopes),
                ("keyPair", key_pair()),
            ]),
        ),
    };
    let spec = object([
        ("appRef", json!({ "name": answers.text("app") })),
        ("gatewayRef", json!({ "name": answers.text("gateway") })),
        ("scopes", json!(answers.list("ceiling"))),
        ("ehrAuthentication", ehr_authentication),
    ]);
    document("Activation", &activation_name(answers), namespace, &spec)
}

/// Lines that make the Secret which a draft names: by hand, from a file, never with the value on the command line.
pub fn secret_lines(answers: &Answers, namespace: &str) -> Vec<String> {
    let Some(name) = answers.given("secretName") else { return Vec::new() };
    let key = answers.given("secretKey").unwrap_or("secret");
    vec![
        format!("kubectl create secret generic {name} -n {namespace} --from-file={key}=./client-secret.txt"),
        format!("kubectl label secret {name} -n {namespace} hearthgate.dev/use=credential"),
    ]
}

/// Lines that commit a file.
pub fn git_lines(file: &str, branch: &str, message: &str) -> String {
    format!(
        "git switch -c {branch}\nhearthgate check .\ngit add {file}\ngit commit -m \"{message}\"\ngit push -u origin HEAD"
    )
}

/// Lines that apply a file without git.
pub fn kubectl_lines(file: &str) -> String {
    format!("kubectl apply --dry-run=server -f {file}\nkubectl apply -f {file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_holds_what_was_answered_and_nothing_else() {
        let answers = Answers::parse(
            "displayName=Schedule+Sync&appId=schedule-sync&clientType=BackendService&proof=jwksUri&\
             jwksUri=https%3A%2F%2Fapp.example.org%2Fjwks.json&secretName=left-over&scope=system%2FPatient.rs&\
             scopes=system%2FSlot.rs%0D%0Asystem%2FPatient.rs&launchUri=",
        );
        insta::assert_snapshot!(yaml("Committed, this registers the app.", &app(&answers, "north")), @r"
        # Committed, this registers the app.
        apiVersion: hearthgate.dev/v1alpha1
        kind: App
        metadata:
          name: schedule-sync
          namespace: north
        spec:
          displayName: Schedule Sync
          clientType: BackendService
          scopes:
          - system/Patient.rs
          - system/Slot.rs
          jwksUri: https://app.example.org/jwks.json
        ");
    }

    #[test]
    fn an_activation_is_named_after_what_it_joins() {
        let answers = Answers::parse(
            "app=schedule-sync&gateway=epic&method=backendAuth&appName=Schedule+Sync&algorithm=RS384&\
             tokenUrl=https%3A%2F%2Fehr.example.org%2Ftoken",
        );
        insta::assert_snapshot!(yaml("x", &activation(&answers, "north")), @r"
        # x
        apiVersion: hearthgate.dev/v1alpha1
        kind: Activation
        metadata:
          name: schedule-sync-at-epic
          namespace: north
        spec:
          appRef:
            name: schedule-sync
          gatewayRef:
            name: epic
          ehrAuthentication:
            type: System
            system:
              backendAuth:
                appName: Schedule Sync
                tokenUrl: https://ehr.example.org/token
        ");
    }
}
