//! Documents and the verdict on each: what people type, and what YAML 1.1 makes of it.

use crate::support::rules::{ACTIVATION, ADAPTER, APP, GATEWAY, with};

/// What both must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Refused,
}
use Verdict::{Accepted, Refused};

/// A document as somebody types it, and the verdict on it.
pub type Case = (Verdict, String);

/// The base document with one more line in its `spec`.
fn spec(base: &str, line: &str) -> String {
    format!("{}  {line}\n", base.trim_start())
}

/// The base document with one more member in its `metadata`.
fn metadata(member: &str) -> String {
    APP.trim_start().replace("{name: x}", &format!("{{name: x, {member}}}"))
}

/// An Activation with these members of `backendAuth`.
fn backend_auth(members: &str) -> String {
    ACTIVATION.trim_start().replace("backendAuth: {}", &format!("backendAuth: {{{members}}}"))
}

fn secret(rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\n  labels: {{hearthgate.dev/use: credential}}\n{rest}\n"
    )
}

fn config_map(rest: &str) -> String {
    secret(rest).replace("kind: Secret", "kind: ConfigMap")
}

/// What YAML 1.1 makes of a plain word, in a field that wants text.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn words() -> Vec<Case> {
    let text = |verdict, word: &str| (verdict, spec(APP, &format!("displayName: {word}")));
    let mut cases: Vec<Case> = [
        "Scheduler",
        "'no'",
        "\"12\"",
        "nUll",
        "12:30",
        "190:20:30",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "1.0.0",
        "1_a",
        "0x",
        "!!str 12",
        "!!str no",
        "'~'",
        "~a",
        "-a",
        "=",
        "08:00",
        "0o8",
        "1e",
        "._",
        "+",
        "é",
        "|-\n    two\n    lines",
        ">-\n    one\n    line",
        "yess",
        "tRue",
    ]
    .map(|word| text(Accepted, word))
    .into();
    // Null stands for absent, in a field that may be.
    cases.extend(["~", "null", "Null", "NULL", ""].map(|word| text(Accepted, word)));
    cases.extend(
        [
            "-",
            "y",
            "n",
            "Y",
            "N",
            "yes",
            "Yes",
            "YES",
            "no",
            "No",
            "NO",
            "on",
            "On",
            "off",
            "OFF",
            "true",
            "True",
            "TRUE",
            "false",
            "12",
            "-1",
            "+1",
            "0",
            "010",
            "0x1F",
            "0b11",
            "0o17",
            "1_000",
            "1.5",
            ".5",
            "5.",
            "1e3",
            "1E3",
            "1_0.5",
            ".nan",
            ".inf",
            "-.INF",
            "[a]",
            "{a: b}",
            "''",
            "99999999999999999999",
            "*nowhere",
            "@a",
            "`a`",
            "%a",
            "\"\\q\"",
            "a: b",
            "!!int 12",
            "!!bool yes",
        ]
        .map(|word| text(Refused, word)),
    );
    cases.extend(
        [
            (Accepted, "yes"),
            (Accepted, "On"),
            (Accepted, "no"),
            (Accepted, "TRUE"),
            (Accepted, "~"),
            (Refused, "'true'"),
            (Refused, "1"),
            (Accepted, "y"),
            (Refused, "0"),
        ]
        .map(|(verdict, word)| (verdict, spec(APP, &format!("suspend: {word}")))),
    );
    cases
}

/// Numbers where a whole number between 10 and 3600 is wanted.
pub fn numbers() -> Vec<Case> {
    [
        (Accepted, "300"),
        (Accepted, "10"),
        (Accepted, "3600"),
        (Accepted, "300.0"),
        (Accepted, "3e2"),
        (Accepted, "0x12C"),
        (Accepted, "0454"),
        (Accepted, "1_000"),
        (Accepted, "0b1100100"),
        (Accepted, "+300"),
        (Accepted, "~"),
        (Refused, "9"),
        (Refused, "3601"),
        (Refused, "300.5"),
        (Refused, "'300'"),
        (Refused, "-300"),
        (Refused, "99999999999999999999"),
        (Refused, "1e400"),
        (Refused, "yes"),
        (Refused, "[300]"),
        (Refused, "5:00"),
        (Refused, "9223372036854775808"),
        (Refused, "08"),
        (Refused, "2026-01-01"),
    ]
    .map(|(verdict, number)| (verdict, spec(GATEWAY, &format!("accessTokenLifetimeSeconds: {number}"))))
    .into()
}

/// Times (RFC 3339, as Kubernetes reads it).
pub fn times() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (Accepted, "2026-01-01T00:00:00Z"),
        (Accepted, "'2026-01-01T00:00:00Z'"),
        (Accepted, "2026-01-01T00:00:00+02:00"),
        (Accepted, "2026-01-01T00:00:00.123456789Z"),
        (Accepted, "2024-02-29T00:00:00Z"),
        (Refused, "2026-01-01"),
        (Refused, "2026-13-01T00:00:00Z"),
        (Refused, "2026-02-30T00:00:00Z"),
        (Refused, "2026-01-01T24:00:00Z"),
        (Refused, "2026-01-01T00:60:00Z"),
        (Refused, "2026-01-01T00:00:00"),
        (Refused, "2026-01-01 00:00:00Z"),
        (Refused, "tomorrow"),
        (Refused, "1767225600"),
        (Refused, "''"),
        (Refused, "2026-01-01T00:00Z"),
        (Refused, "2026-01-01T00:00:00+0200"),
        (Refused, "26-01-01T00:00:00Z"),
        (Refused, "2026-1-1T00:00:00Z"),
        (Refused, "2026-02-29T00:00:00Z"),
    ]
    .map(|(verdict, time)| (verdict, spec(ACTIVATION, &format!("notBefore: {time}"))))
    .into();
    let window =
        |verdict, from: &str, to: &str| (verdict, spec(ACTIVATION, &format!("notBefore: {from}\n  expiresAt: {to}")));
    cases.extend([
        window(Accepted, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        window(Refused, "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
        window(Refused, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        // By the clock, not by the letters.
        window(Accepted, "2026-01-01T01:00:00+02:00", "2025-12-31T23:30:00Z"),
        window(Refused, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+02:00"),
        window(Accepted, "2026-01-01T00:00:00.1Z", "2026-01-01T00:00:00.15Z"),
    ]);
    cases
}

/// Types, bounds, enums, lists, unknown fields.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn shapes() -> Vec<Case> {
    let of = |base: &'static str| move |(verdict, line): (Verdict, String)| (verdict, spec(base, &line));
    let long = |character: &str, times: usize| character.repeat(times);
    let mut cases = vec![
        (Accepted, APP.to_owned()),
        (Accepted, GATEWAY.to_owned()),
        (Accepted, ADAPTER.to_owned()),
        (Accepted, ACTIVATION.to_owned()),
        (Accepted, serde_json::to_string_pretty(&with(APP, &[])).expect("JSON")),
        // Unknown fields at every depth.
        (Refused, spec(APP, "clientTyp: x")),
        (Refused, spec(APP, "ClientType: Public")),
        (Refused, format!("{}extra: x\n", APP.trim_start())),
        (Refused, spec(GATEWAY, "signingKeys: {revisions: 1}")),
        (Refused, backend_auth("keyPair: {size: 2048}")),
        (Refused, ACTIVATION.trim_start().replace("{name: app}", "{name: app, namespace: other}")),
        (
            Accepted,
            spec(APP, "jwks: {keys: [{kty: EC, crv: P-384, x: AA, y: AA, anything: [1]}], more: x}")
                .replace("  jwksUri: https://app.example.org/jwks.json\n", ""),
        ),
        // Required fields.
        (Refused, APP.trim_start().replace("clientType: BackendService", "clientType: ~")),
        (Refused, APP.trim_start().replace("  clientType: BackendService\n", "")),
        (Refused, "apiVersion: hearthgate.dev/v1alpha1\nkind: App\nmetadata: {name: x}\n".to_owned()),
        (Refused, "apiVersion: hearthgate.dev/v1alpha1\nkind: App\nmetadata: {name: x}\nspec: {}\n".to_owned()),
        (Refused, "apiVersion: hearthgate.dev/v1alpha1\nkind: App\nmetadata: {name: x}\nspec: []\n".to_owned()),
        (Refused, ACTIVATION.trim_start().replace("{name: app}", "{}")),
        (Refused, ACTIVATION.trim_start().replace("{name: app}", "app")),
        (Refused, ACTIVATION.trim_start().replace("{name: app}", "{name: ''}")),
        (Refused, ACTIVATION.trim_start().replace("{name: app}", "{name: 12}")),
        // Exactly one way.
        (Accepted, ACTIVATION.trim_start().replace("backendAuth: {}", "none: {}")),
        (Refused, ACTIVATION.trim_start().replace("backendAuth: {}", "none: ~")),
        (Refused, ACTIVATION.trim_start().replace("backendAuth: {}", "none: {a: b}")),
        (Refused, ACTIVATION.trim_start().replace("backendAuth: {}", "backendAuth: ~")),
        (Accepted, ACTIVATION.trim_start().replace("backendAuth: {}", "{backendAuth: {}, none: ~}")),
        // Key pairs.
        (Accepted, backend_auth("keyPair: ~")),
        (Accepted, backend_auth("keyPair: {revision: 1000000, rsaBits: 4096}")),
        (Accepted, backend_auth("keyPair: {rsaBits: 3072.0}")),
        (Refused, backend_auth("keyPair: {revision: 0}")),
        (Refused, backend_auth("keyPair: {revision: 1000001}")),
        (Refused, backend_auth("keyPair: {rsaBits: 1024}")),
        (Refused, backend_auth("keyPair: {rsaBits: '2048'}")),
        (Refused, backend_auth("keyPair: {algorithm: rs384}")),
        (Refused, backend_auth("keyPair: {name: Upper}")),
        (Refused, backend_auth("keyPair: {name: a-}")),
        (Accepted, backend_auth(&format!("keyPair: {{thumbprints: [{}]}}", long("A", 43)))),
        (Refused, backend_auth(&format!("keyPair: {{thumbprints: [{}]}}", long("A", 42)))),
        (Refused, backend_auth("clientId: 'a b'")),
        (Refused, backend_auth("clientId: 12")),
        (Refused, backend_auth("clientId: é")),
        (Refused, backend_auth(&format!("appName: {}", long("a", 65)))),
    ];
    // Length is counted in characters, not bytes.
    cases.extend(
        [
            (Accepted, long("a", 256)),
            (Refused, long("a", 257)),
            (Accepted, long("é", 256)),
            (Accepted, long("😀", 256)),
            (Refused, long("😀", 257)),
        ]
        .map(|(verdict, text)| (verdict, format!("displayName: {text}")))
        .map(of(APP)),
    );
    cases.extend(
        [
            (Accepted, "scopes: ~"),
            (Accepted, "scopes: []"),
            (Accepted, "scopes: [a, a]"),
            (Refused, "scopes: [~]"),
            (Refused, "scopes: ['']"),
            (Refused, "scopes: a"),
            (Refused, "scopes: {a: b}"),
            (Refused, "scopes: [1]"),
            (Refused, "clientSecrets: []"),
            (Refused, "clientSecrets: [{}]"),
            (Accepted, "clientSecrets: [{secretRef: {name: a, key: b}}, {secretRef: {name: a, key: b}}]"),
            (Refused, "clientSecrets: [{secretRef: {name: a}}]"),
            (Refused, "clientId: 'a b'"),
            (Accepted, "clientId: a.b_c~d-e"),
            (Refused, "clientId: ''"),
            (Refused, "clientId: 12"),
            (Accepted, "clientId: 12a"),
        ]
        .map(|(verdict, line)| (verdict, line.to_owned()))
        .map(of(APP)),
    );
    cases.extend(
        [
            (Accepted, "signingKeys: {}"),
            (Accepted, "signingKeys: ~"),
            (Refused, "signingKeys: []"),
            (Refused, "rateLimit: {}"),
            (Accepted, "rateLimit: {requestsPerSecond: 1}"),
            (Refused, "rateLimit: {requestsPerSecond: 0}"),
            (Accepted, "operations: [$everything]"),
            (Refused, "operations: [everything]"),
            (Refused, "operations: [$]"),
            (Accepted, "cors: {allowedOrigins: ['https://a.example']}"),
            (Refused, "cors: {allowedOrigins: ['https://a.example/']}"),
            (Refused, "cors: {allowedOrigins: ['*']}"),
            (Accepted, "allowedScopes: []"),
            (Accepted, "publicUrl: https://fhir.example.org/epic"),
            (Refused, "publicUrl: https://fhir.example.org/epic#x"),
            (Refused, "publicUrl: /epic"),
            (Refused, "publicUrl: HTTPS://fhir.example.org"),
            (Refused, "publicUrl: 'https://fhir.example.org/a b'"),
            // White space of every kind, though RE2 knows only that of ASCII.
            (Refused, "publicUrl: \"https://fhir.example.org/a\\u00a0b\""),
            (Refused, "publicUrl: \"https://fhir.example.org/a\\vb\""),
            (Refused, "publicUrl: \"https://fhir.example.org/a\\u2003b\""),
            (Refused, "publicUrl: \"https://fhir.example.org/a\\tb\""),
            (Refused, "publicUrl: \"https://fhir.example.org/a\\n\""),
            (Accepted, "publicUrl: https://fhir.example.org/é"),
        ]
        .map(|(verdict, line)| (verdict, line.to_owned()))
        .map(of(GATEWAY)),
    );
    cases.extend(
        [
            (Accepted, "retry: {}"),
            (Accepted, "retry: {maxAttempts: 5, budgetPercent: 0}"),
            (Refused, "retry: {maxAttempts: 6}"),
            (Refused, "retry: {budgetPercent: -1}"),
            (Refused, "timeouts: {connectSeconds: 61}"),
            (Refused, "timeouts: 5"),
            (Accepted, "requestHeaders: [{name: X-A, value: ''}, {name: X-A, value: b}]"),
            (Refused, "requestHeaders: [{name: 'X A', value: b}]"),
            (Refused, "requestHeaders: [{name: X-A}]"),
            (Refused, "requestHeaders: [{name: X-A, value: \"a\\nb\"}]"),
            (Refused, "requestHeaders: {X-A: b}"),
            (Accepted, "tls: {}"),
            (Accepted, "tls: {caBundleRef: {kind: ConfigMap, name: a, key: b}}"),
            (Refused, "tls: {caBundleRef: {kind: Configmap, name: a, key: b}}"),
            (Refused, "tls: {caBundleRef: {name: a, key: b}}"),
            (Accepted, "backendAuthEnabled: yes"),
            (Refused, "circuitBreaker: {failurePercent: 0}"),
            (Refused, "circuitBreaker: {failurePercent: 50.5}"),
        ]
        .map(|(verdict, line)| (verdict, line.to_owned()))
        .map(of(ADAPTER)),
    );
    cases
}

/// Names, labels and the rest of `metadata`.
pub fn names() -> Vec<Case> {
    let named = |name: &str| APP.trim_start().replace("{name: x}", &format!("{{name: {name}}}"));
    let mut cases: Vec<Case> = [
        (Accepted, "a.b-c.1".to_owned()),
        (Accepted, "'1'".into()),
        (Accepted, "a".repeat(253)),
        (Refused, "a".repeat(254)),
        (Refused, "A".into()),
        (Refused, "-a".into()),
        (Refused, "a-".into()),
        (Refused, "a_b".into()),
        (Refused, "a..b".into()),
        (Refused, "1".into()),
        (Refused, "''".into()),
        (Refused, "~".into()),
        (Refused, "é".into()),
        (Refused, "a/b".into()),
        (Refused, "no".into()),
    ]
    .map(|(verdict, name)| (verdict, named(&name)))
    .into();
    cases.extend(
        [
            (Accepted, "labels: {}".to_owned()),
            (Accepted, "labels: ~".into()),
            (Accepted, "labels: {a: b}".into()),
            (Accepted, "labels: {example.org/a: ''}".into()),
            (Refused, "labels: {a: 1}".into()),
            (Refused, "labels: {a: yes}".into()),
            (Refused, "labels: {a: 'b c'}".into()),
            (Refused, "labels: {'a b': c}".into()),
            (Refused, "labels: {a/b/c: d}".into()),
            (Refused, format!("labels: {{a: {}}}", "b".repeat(64))),
            (Refused, "labels: [a]".into()),
            (Refused, "labels: {-a: b}".into()),
            (Refused, "labels: {Example.org/a: b}".into()),
            (Accepted, "annotations: {a: 'anything, even é'}".into()),
            (Refused, "annotations: {a: true}".into()),
            (Refused, "annotations: {'a b': c}".into()),
            (Accepted, "annotations: {Example.org/A: c}".into()),
            (Accepted, "labels: {a: ~}".into()),
            (Refused, "nmae: y".into()),
            (Accepted, "finalizers: [x]".into()),
            (Accepted, "finalizers: [example.org/x]".into()),
            (Accepted, "creationTimestamp: ~".into()),
            (Refused, "creationTimestamp: yesterday".into()),
            (Accepted, "generation: 7".into()),
            (Refused, "generation: seven".into()),
            (Refused, "namespace: Not_A_Name".into()),
        ]
        .map(|(verdict, member)| (verdict, metadata(&member))),
    );
    cases.extend([
        (Refused, APP.trim_start().replace("metadata: {name: x}\n", "")),
        (Refused, APP.trim_start().replace("{name: x}", "[]")),
        (Refused, APP.trim_start().replace("{name: x}", "{generateName: x-}")),
        (Refused, APP.trim_start().replace("v1alpha1", "v1")),
        (Refused, APP.trim_start().replace("apiVersion: hearthgate.dev/v1alpha1\n", "")),
        (Refused, APP.trim_start().replace("kind: App", "kind: app")),
        (Refused, APP.trim_start().replace("kind: App\n", "")),
        (Refused, APP.trim_start().replace("kind: App", "kind: Apps")),
    ]);
    cases
}

/// Texts that are no good YAML, and good ones that few people write.
pub fn texts() -> Vec<Case> {
    let app = APP.trim_start();
    vec![
        (
            Accepted,
            app.replace("BackendService", "&type BackendService").replace("jwksUri:", "displayName: *type\n  jwksUri:"),
        ),
        (Accepted, app.replace("spec:\n", "spec:\n  <<: {displayName: merged}\n")),
        (Accepted, format!("# a comment\n---\n{app}...\n")),
        (Refused, format!("%YAML 1.1\n---\n{app}")),
        (Accepted, app.replace('\n', "\r\n")),
        (Accepted, app.replace("clientType:", "\"clientType\":")),
        (Accepted, app.replace("clientType:", "? clientType\n  :")),
        (Accepted, spec(APP, "displayName: \"\\u0041\\x42\"")),
        (Refused, app.replace("  clientType", "\tclientType")),
        (Refused, app.replace("  clientType", "   clientType")),
        (Refused, app.replace("BackendService", "\"BackendService")),
        (Refused, spec(APP, "12: x")),
        (Refused, spec(APP, "scopes: [a")),
        (Refused, spec(APP, "scopes: *nowhere")),
        (Refused, spec(APP, "clientType: Public")),
    ]
}

/// Secrets and ConfigMaps that are labelled for us.
pub fn core() -> Vec<Case> {
    let secrets = [
        (Accepted, "stringData: {a: b}"),
        (Accepted, "data: {a: Yg==}"),
        (Accepted, "data: {a: ''}"),
        (Accepted, "data: {a: \"Yg\\n==\"}"),
        (Accepted, "data: ~"),
        (Accepted, ""),
        (Accepted, "type: Opaque"),
        (Accepted, "immutable: yes"),
        (Accepted, "stringData: {a: ~}"),
        (Accepted, "data: {a: ~}"),
        (Accepted, "type: hearthgate.dev/key-pair\ndata: {private.pem: YQ==}"),
        (Refused, "stringData: {a: 12}"),
        (Refused, "stringData: {a: no}"),
        (Refused, "data: {a: b}"),
        (Refused, "data: {a: Yg}"),
        (Refused, "data: {a: 'Y g=='}"),
        (Refused, "data: {a/b: Yg==}"),
        (Refused, "data: {'': Yg==}"),
        (Refused, "data: {..: Yg==}"),
        (Refused, "data: [a]"),
        (Refused, "data: Yg=="),
        (Refused, "type: 12"),
        (Refused, "immutable: 'yes'"),
        (Refused, "dtaa: {a: Yg==}"),
        (Refused, "spec: {}"),
        (Refused, "type: kubernetes.io/tls\ndata: {a: Yg==}"),
        (Accepted, "type: kubernetes.io/tls\ndata: {tls.crt: Yg==, tls.key: Yg==}"),
        (Refused, "type: kubernetes.io/basic-auth\nstringData: {a: b}"),
        (Accepted, "type: kubernetes.io/basic-auth\nstringData: {username: b}"),
        (Refused, "type: kubernetes.io/ssh-auth\nstringData: {a: b}"),
        (Refused, "type: kubernetes.io/dockerconfigjson\nstringData: {a: b}"),
    ]
    .map(|(verdict, rest)| (verdict, secret(rest)));
    let config_maps = [
        (Accepted, "data: {ca.crt: x}"),
        (Accepted, "binaryData: {a: Yg==}"),
        (Accepted, ""),
        (Refused, "data: {a: 12}"),
        (Refused, "binaryData: {a: b}"),
        (Refused, "stringData: {a: b}"),
        (Refused, "data: {a: b}\nbinaryData: {a: Yg==}"),
        (Refused, "data: {'a b': c}"),
        (Refused, "type: Opaque"),
    ]
    .map(|(verdict, rest)| (verdict, config_map(rest)));
    secrets.into_iter().chain(config_maps).collect()
}

/// Where the offline check is stricter on purpose.
pub fn stricter() -> Vec<(&'static str, String)> {
    vec![
        (
            "behind other keys, kubectl lets `<<` overwrite them: nobody means that",
            spec(APP, "<<: {clientType: BackendService}"),
        ),
        ("kubectl reads over a tag that it does not know", APP.trim_start().replace("spec:\n", "spec: !unknown\n")),
    ]
}
