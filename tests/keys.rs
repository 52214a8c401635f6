//! Keys against the judges that matter: the real `openssl`, and processes that are killed while they write.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hearthgate::keys::directory::DirectoryKeyStore;
use hearthgate::keys::make::{make_gateway_keys, make_pair};
use hearthgate::keys::secret::pair_secret;
use hearthgate::keys::{Created, KeySecret, KeyStore as _};
use hearthgate::values::key::{
    Algorithm, GatewayKeys, JwsHeader, KeyKind, KeyProblem, PairIdentity, PairKind, ParsedKeyPair, SigningKey, file,
};
use hearthgate::values::secret::SecretBytes;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

/// Holds what the application is called by people, in a script that needs UTF-8.
const APP_NAME: &str = "Schedule Sync – Zdraví";

fn now() -> Timestamp {
    "2026-03-05T07:08:09Z".parse().unwrap()
}

/// Runs openssl in a directory; a failure fails the test with what it said.
fn openssl(directory: &Path, arguments: &[&str]) -> String {
    String::from_utf8(openssl_bytes(directory, arguments)).unwrap()
}

fn openssl_bytes(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output =
        Command::new("openssl").args(arguments).current_dir(directory).stdin(Stdio::null()).output().expect(
            "these tests ask the openssl command about our keys; install it (on Debian: apt-get install openssl)",
        );
    assert!(
        output.status.success(),
        "openssl {} failed:\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn write_all(directory: &Path, data: &BTreeMap<String, SecretBytes>) {
    for (name, content) in data {
        fs::write(directory.join(name), content.expose()).unwrap();
    }
}

fn read_pair(directory: &Path) -> ParsedKeyPair {
    let data = file::OF_A_PAIR
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), SecretBytes::new(fs::read(directory.join(name)).ok()?))))
        .collect();
    ParsedKeyPair::from_data(&data).unwrap()
}

/// `r ‖ s` as JWS has it (RFC 7518 §3.4) into the DER that openssl has.
fn ecdsa_to_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let mut body = Vec::new();
    for number in [r, s] {
        let trimmed: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = usize::from(trimmed.first().is_none_or(|first| *first >= 0x80));
        body.extend([0x02, u8::try_from(trimmed.len() + sign).unwrap()]);
        body.extend(std::iter::repeat_n(0, sign));
        body.extend(trimmed);
    }
    let mut der = vec![0x30, u8::try_from(body.len()).unwrap()];
    der.extend(body);
    der
}

/// The other way; all lengths here are below 128.
fn ecdsa_from_der(der: &[u8], coordinate: usize) -> Vec<u8> {
    let mut signature = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number: Vec<u8> = rest[2..2 + length].iter().copied().skip_while(|byte| *byte == 0).collect();
        signature.extend(std::iter::repeat_n(0, coordinate - number.len()));
        signature.extend(number);
        rest = &rest[2 + length..];
    }
    signature
}

fn digest_option(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Es256 => "-sha256",
        Algorithm::Rs384 | Algorithm::Es384 => "-sha384",
    }
}

fn coordinate(kind: KeyKind) -> Option<usize> {
    match kind {
        KeyKind::Rsa { .. } => None,
        KeyKind::P256 => Some(32),
        KeyKind::P384 => Some(48),
    }
}

/// Our signature satisfies openssl, and openssl's satisfies us.
fn signatures_are_understood_both_ways(directory: &Path, private_file: &str, key: &SigningKey) {
    let header = JwsHeader { typ: Some("JWT"), jku: Some("https://gateway.example/keys/jwks.json") };
    let claims = json!({"iss": "client", "sub": "client", "aud": "https://ehr.example/token", "jti": "1"});
    let token = key.sign(&header, &claims).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let ec = coordinate(key.public().kind());
    let digest = digest_option(key.algorithm());

    fs::write(directory.join("input"), input).unwrap();
    fs::write(directory.join("signature"), if ec.is_some() { ecdsa_to_der(&signature) } else { signature }).unwrap();
    fs::write(directory.join("verify.pem"), key.public().to_pem()).unwrap();
    let answer = openssl(directory, &["dgst", digest, "-verify", "verify.pem", "-signature", "signature", "input"]);
    assert_eq!(answer, "Verified OK\n");

    let theirs = openssl_bytes(directory, &["dgst", digest, "-sign", private_file, "input"]);
    let theirs = ec.map_or(theirs.clone(), |coordinate| ecdsa_from_der(&theirs, coordinate));
    let verifying = key.public().verifying_key(key.algorithm()).unwrap();
    assert_eq!(verifying.verify(input.as_bytes(), &theirs), Ok(()));
}

/// What openssl reads from the public key is what our JWK says.
fn jwk_is_what_openssl_reads(directory: &Path, key: &SigningKey) {
    fs::write(directory.join("jwk-of.pem"), key.public().to_pem()).unwrap();
    let member = |name: &str| URL_SAFE_NO_PAD.decode(key.jwk()[name].as_str().unwrap()).unwrap();
    if let Some(coordinate) = coordinate(key.public().kind()) {
        let der = openssl_bytes(directory, &["pkey", "-pubin", "-in", "jwk-of.pem", "-outform", "DER"]);
        let (x, y) = der[der.len() - 2 * coordinate..].split_at(coordinate);
        assert_eq!((member("x"), member("y")), (x.to_vec(), y.to_vec()));
    } else {
        let modulus = openssl(directory, &["rsa", "-pubin", "-in", "jwk-of.pem", "-noout", "-modulus"]);
        let n = member("n").iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}"));
        assert_eq!(modulus, format!("Modulus={n}\n"));
        let text = openssl(directory, &["rsa", "-pubin", "-in", "jwk-of.pem", "-noout", "-text"]);
        assert!(text.contains("Exponent: 65537 (0x10001)"), "{text}");
        assert_eq!(member("e"), [1, 0, 1]);
    }
}

#[rstest]
#[case::rsa_2048(PairKind::Rsa2048, "(2048 bit)")]
#[case::rsa_3072(PairKind::Rsa3072, "(3072 bit)")]
#[case::rsa_4096(PairKind::Rsa4096, "(4096 bit)")]
#[case::p_384(PairKind::P384, "(384 bit)")]
fn openssl_agrees_with_every_file_of_a_new_pair(#[case] kind: PairKind, #[case] size: &str) {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    write_all(directory, &make_pair(kind, APP_NAME, now()).unwrap().into_data());
    let pair = read_pair(directory);
    assert_eq!((pair.kind(), pair.algorithm()), (kind.key_kind(), kind.algorithm()));

    let checked = openssl(directory, &["pkey", "-in", "private.pem", "-check", "-noout"]);
    assert_eq!(checked, "Key is valid\n");
    let public = fs::read_to_string(directory.join("public.pem")).unwrap();
    assert_eq!(openssl(directory, &["pkey", "-in", "private.pem", "-pubout"]), public);
    assert_eq!(openssl(directory, &["pkey", "-pubin", "-in", "public.pem"]), public);
    let text = openssl(directory, &["pkey", "-pubin", "-in", "public.pem", "-noout", "-text"]);
    assert!(text.contains(size), "{text}");

    let certificate = pair.certificate().unwrap();
    assert_eq!(openssl(directory, &["x509", "-in", "certificate.pem", "-noout", "-pubkey"]), public);
    let options = ["-subject", "-nameopt", "utf8,sep_comma_plus", "-startdate", "-enddate", "-fingerprint", "-sha256"];
    let facts = openssl(directory, &[&["x509", "-in", "certificate.pem", "-noout"], &options[..]].concat());
    let expected = format!(
        "subject=CN={APP_NAME}\nnotBefore=Mar  5 07:08:09 2026 GMT\nnotAfter=Mar  5 07:08:09 2036 GMT\n\
         sha256 Fingerprint={}\n",
        certificate.fingerprint()
    );
    assert_eq!(facts, expected);
    assert_eq!(certificate.not_after(), "2036-03-05T07:08:09Z".parse().unwrap());
    let verify = ["verify", "-no_check_time", "-check_ss_sig", "-x509_strict", "-partial_chain"];
    let verdict = openssl(directory, &[&verify[..], &["-CAfile", "certificate.pem", "certificate.pem"]].concat());
    assert_eq!(verdict, "certificate.pem: OK\n");

    jwk_is_what_openssl_reads(directory, pair.signing());
    signatures_are_understood_both_ways(directory, "private.pem", pair.signing());
}

#[test]
fn openssl_agrees_with_a_gateways_keys() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let data = make_gateway_keys().unwrap().into_data();
    write_all(directory, &data);
    let keys = GatewayKeys::from_data(&data).unwrap();
    for (file, key) in [(file::ES256_PRIVATE_PEM, &keys.es256), (file::RS256_PRIVATE_PEM, &keys.rs256)] {
        assert_eq!(openssl(directory, &["pkey", "-in", file, "-check", "-noout"]), "Key is valid\n");
        assert_eq!(openssl(directory, &["pkey", "-in", file, "-pubout"]), key.public().to_pem());
        jwk_is_what_openssl_reads(directory, key);
        signatures_are_understood_both_ways(directory, file, key);
    }
    let sealing = openssl_bytes(directory, &["base64", "-d", "-in", file::SEALING_KEY]);
    assert_eq!(sealing, keys.sealing.expose());
    assert_eq!(sealing.len(), 32);
}

#[rstest]
#[case::rsa(&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], Algorithm::Rs384)]
#[case::odd_size(&["RSA", "-pkeyopt", "rsa_keygen_bits:2304"], Algorithm::Rs384)]
#[case::ec(&["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], Algorithm::Es384)]
fn a_pair_that_openssl_made_is_read_alone_and_with_its_public_halves(
    #[case] recipe: &[&str],
    #[case] algorithm: Algorithm,
) {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    openssl(directory, &[&["genpkey", "-out", "private.pem", "-algorithm"], recipe].concat());
    let alone = read_pair(directory);
    assert_eq!(alone.algorithm(), algorithm);
    assert_eq!(alone.certificate(), None);

    openssl(directory, &["pkey", "-in", "private.pem", "-pubout", "-out", "public.pem"]);
    let request = ["req", "-x509", "-key", "private.pem", "-subj", "/CN=brought", "-days", "30"];
    openssl(directory, &[&request[..], &["-out", "certificate.pem"]].concat());
    fs::write(directory.join("jwk.json"), alone.jwk().to_string()).unwrap();
    let whole = read_pair(directory);
    assert_eq!(whole.public(), alone.public());
    let fingerprint = openssl(directory, &["x509", "-in", "certificate.pem", "-noout", "-fingerprint", "-sha256"]);
    assert_eq!(fingerprint, format!("sha256 Fingerprint={}\n", whole.certificate().unwrap().fingerprint()));
    signatures_are_understood_both_ways(directory, "private.pem", whole.signing());
}

#[rstest]
#[case::too_small(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], KeyProblem::RsaSize { bits: 1024 })]
#[case::pss_only(&["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], KeyProblem::Unsupported)]
#[case::edwards(&["genpkey", "-algorithm", "ED25519"], KeyProblem::Unsupported)]
#[case::explicit_curve(
    &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-pkeyopt", "ec_param_enc:explicit"],
    KeyProblem::Unsupported
)]
#[case::encrypted(&["genpkey", "-algorithm", "ED25519", "-aes-256-cbc", "-pass", "pass:x"], KeyProblem::Encrypted)]
#[case::pkcs_1(&["genrsa", "-traditional", "2048"], KeyProblem::OldForm { found: "RSA PRIVATE KEY" })]
#[case::pkcs_1_encrypted(&["genrsa", "-traditional", "-aes128", "-passout", "pass:x", "2048"], KeyProblem::Encrypted)]
#[case::sec_1(&["ecparam", "-name", "secp384r1", "-genkey"], KeyProblem::OldForm { found: "EC PRIVATE KEY" })]
fn a_key_of_openssls_that_cannot_be_used_says_why(#[case] recipe: &[&str], #[case] problem: KeyProblem) {
    let directory = TempDir::new().unwrap();
    let text = openssl_bytes(directory.path(), recipe);
    let data = BTreeMap::from([(file::PRIVATE_PEM.to_owned(), SecretBytes::new(text))]);
    assert_eq!(ParsedKeyPair::from_data(&data).unwrap_err(), problem.in_file(file::PRIVATE_PEM));
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let mut data = make_pair(PairKind::P384, APP_NAME, now()).unwrap().into_data();
    let subject = ["-subj", "/CN=x", "-keyout", "other.pem", "-out", "certificate.pem"];
    openssl(directory, &[&["req", "-x509", "-newkey", "rsa:2048", "-nodes"], &subject[..]].concat());
    let other = SecretBytes::new(fs::read(directory.join("certificate.pem")).unwrap());
    data.insert(file::CERTIFICATE_PEM.to_owned(), other);
    assert_eq!(ParsedKeyPair::from_data(&data).unwrap_err(), KeyProblem::OtherKey.in_file(file::CERTIFICATE_PEM));
}

// Processes that write keys. The child is this test binary again, told by the environment what to do.

const CHILD_ROOT: &str = "HEARTHGATE_TEST_KEYS_ROOT";
const CHILD_FROM: &str = "HEARTHGATE_TEST_KEYS_FROM";
const CHILD_TO: &str = "HEARTHGATE_TEST_KEYS_TO";
const CHILD_GO: &str = "HEARTHGATE_TEST_KEYS_GO";

fn numbered_pair(number: usize) -> KeySecret {
    let identity =
        PairIdentity { app: "schedule-sync".into(), pair: format!("pair-{number}"), revision: 1, kind: PairKind::P384 };
    pair_secret("clinic", &identity, make_pair(PairKind::P384, APP_NAME, now()).unwrap())
}

fn thumbprint(key: &KeySecret) -> String {
    ParsedKeyPair::from_whole_data(&key.data).unwrap().thumbprint().to_string()
}

/// Not a test by itself: what a child process does, see [`Writer`]. It tells each key on a line of its own.
#[test]
fn writer_process() {
    let Ok(root) = std::env::var(CHILD_ROOT) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let store = DirectoryKeyStore::new(root);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tell = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{line}").and_then(|()| out.flush()).unwrap();
    };
    tell("ready".into());
    if let Ok(go) = std::env::var(CHILD_GO) {
        while !Path::new(&go).exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for number in number(CHILD_FROM)..number(CHILD_TO) {
        let key = numbered_pair(number);
        match runtime.block_on(store.create(&key)).unwrap() {
            Created::New => tell(format!("new {} {}", key.name, thumbprint(&key))),
            Created::AlreadyExists(existing) => tell(format!("old {} {}", existing.name, thumbprint(&existing))),
        }
    }
}

/// A running child process.
struct Writer {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

/// What a child told of one key.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    new: bool,
    name: String,
    thumbprint: String,
}

impl Writer {
    fn start(root: &Path, numbers: std::ops::Range<usize>, go: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "writer_process", "--nocapture", "--test-threads=1"]).env(CHILD_ROOT, root);
        command.env(CHILD_FROM, numbers.start.to_string()).env(CHILD_TO, numbers.end.to_string());
        if let Some(go) = go {
            command.env(CHILD_GO, go);
        }
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child process ended before it was ready");
        }
        Self { process, output }
    }

    /// Waits for the end, and returns what was told until then.
    fn finish(mut self) -> Vec<Told> {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        self.process.wait().unwrap();
        text.lines()
            .filter_map(|line| {
                let (kind, rest) = line.split_once(' ')?;
                let (name, thumbprint) = rest.split_once(' ')?;
                let told = || Told { new: kind == "new", name: name.into(), thumbprint: thumbprint.into() };
                // The last line may have been cut off by the kill.
                (matches!(kind, "new" | "old") && thumbprint.len() == 43).then(told)
            })
            .collect()
    }

    fn kill(mut self) -> Vec<Told> {
        self.process.kill().unwrap();
        self.finish()
    }
}

fn list(store: &DirectoryKeyStore) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let listing = runtime.block_on(store.list()).unwrap();
    assert!(listing.damaged.is_empty(), "half a key is visible: {:?}", listing.damaged);
    listing.keys.iter().map(|key| (key.name.clone(), thumbprint(key))).collect()
}

fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % limit
}

#[test]
fn a_kill_at_any_moment_leaves_only_whole_keys_and_none_is_ever_replaced() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("keys");
    let store = DirectoryKeyStore::new(&root);
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let started = Instant::now();
    let mut kills = 0;
    // Microseconds: on a busy machine no key is whole within so little, so it grows while none is.
    let mut longest_life = 40_000;
    while kills < 150 && (kills < 100 || started.elapsed() < Duration::from_secs(30)) {
        // From two below what is known, so that every child also meets keys that are there already.
        let writer = Writer::start(&root, known.len().saturating_sub(2)..usize::MAX, None);
        std::thread::sleep(Duration::from_micros(random_below(longest_life)));
        let told = writer.kill();
        kills += 1;

        let visible = list(&store);
        for (name, thumbprint) in &known {
            assert_eq!(visible.get(name), Some(thumbprint), "{name} was replaced or lost by kill {kills}");
        }
        for told in told {
            assert_eq!(visible.get(&told.name), Some(&told.thumbprint), "{} was told and is not kept", told.name);
            assert_eq!(told.new, !known.contains_key(&told.name));
        }
        if visible.len() == known.len() {
            longest_life = (longest_life + 2_000).min(400_000);
        }
        known = visible;
    }

    let hidden = fs::read_dir(root.join("clinic"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(".new-"))
        .count();
    assert!(hidden > 0, "no kill of {kills} came while a key was being written, so this has shown nothing");
    assert!(known.len() > 1);
    let last = root.join("clinic").join(known.keys().last().unwrap());
    assert_eq!(openssl(&last, &["pkey", "-in", "private.pem", "-check", "-noout"]), "Key is valid\n");
}

#[test]
fn of_racing_processes_one_makes_each_key_and_the_others_adopt_it() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("keys");
    let go = directory.path().join("go");
    let writers: Vec<Writer> = (0..4).map(|_| Writer::start(&root, 0..25, Some(&go))).collect();
    fs::write(&go, "").unwrap();
    let told: Vec<Told> = writers.into_iter().flat_map(Writer::finish).collect();
    assert_eq!(told.len(), 4 * 25);
    let kept = list(&DirectoryKeyStore::new(&root));
    assert_eq!(kept.len(), 25);
    for (name, thumbprint) in &kept {
        let of_this: Vec<&Told> = told.iter().filter(|told| told.name == *name).collect();
        assert_eq!(of_this.iter().filter(|told| told.new).count(), 1, "{name}: {of_this:?}");
        assert!(of_this.iter().all(|told| told.thumbprint == *thumbprint), "{name}: {of_this:?}");
    }
    assert_eq!(fs::read_dir(root.join("clinic")).unwrap().count(), 25, "something hidden was left behind");
}

#[test]
fn the_sealing_key_is_standard_base64_with_one_newline() {
    let data = make_gateway_keys().unwrap().into_data();
    let text = data[file::SEALING_KEY].expose_str().unwrap();
    assert_eq!(STANDARD.decode(text.strip_suffix('\n').unwrap()).unwrap().len(), 32);
}
