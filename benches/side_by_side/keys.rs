//! Keys of the bench's own, and what is signed with them beforehand: assertions and tokens, each of which is good for one
//! request.

use std::path::Path;
use std::time::{Duration, Instant};

use ::hearthgate::keys::make::{make_gateway_keys, make_pair};
use ::hearthgate::values::key::{Algorithm, JwsHeader, PairKind, SigningKey, VerifyingKey, file};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::process::CpuTime;

/// A private key.
pub struct Key(SigningKey);

impl Key {
    /// Makes one: RSA of 2048 bits, or P-256.
    pub fn make(algorithm: Algorithm) -> Self {
        let (data, name) = match algorithm {
            Algorithm::Es256 => (make_gateway_keys().unwrap().into_data(), file::ES256_PRIVATE_PEM),
            _ => (make_pair(PairKind::Rsa2048, "bench", Timestamp::now()).unwrap().into_data(), file::PRIVATE_PEM),
        };
        Self::read(data[name].expose(), algorithm)
    }

    /// The key that a gateway signs its tokens with, as the state directory keeps it.
    pub fn of_the_gateway(state: &Path) -> Self {
        let found = find(state).expect("the gateway's key is kept below the state directory");
        Self::read(&std::fs::read(found).unwrap(), Algorithm::Es256)
    }

    fn read(pem: &[u8], algorithm: Algorithm) -> Self {
        let wanted: &'static [Algorithm] = match algorithm {
            Algorithm::Es256 => &[Algorithm::Es256],
            _ => &[Algorithm::Rs384],
        };
        Self(SigningKey::from_pem(pem, wanted).unwrap())
    }

    pub fn signing(&self) -> &SigningKey {
        &self.0
    }

    pub fn verifying(&self) -> VerifyingKey {
        self.0.public().verifying_key(self.0.algorithm()).unwrap()
    }

    /// So many token requests' bodies, each with an assertion of its own. They are good for five minutes.
    pub fn assertions(&self, client_id: &str, audience: &str, count: usize) -> Vec<String> {
        let now = Timestamp::now().as_second();
        let run = Timestamp::now().as_nanosecond();
        in_parallel(count, |number| {
            let claims = json!({
                "iss": client_id, "sub": client_id, "aud": audience, "exp": now + 290, "iat": now,
                "jti": format!("{run}-{number}"),
            });
            let header = JwsHeader { typ: Some("JWT"), jku: None };
            let assertion = self.0.sign(&header, &claims).unwrap();
            format!(
                "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}"
            )
        })
    }

    /// So many tokens that say the same as this one of the gateway's and are each their own.
    pub fn tokens_like(&self, token: &str, count: usize) -> Vec<String> {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        let run = Timestamp::now().as_nanosecond();
        in_parallel(count, |number| {
            let mut claims = claims.clone();
            claims["jti"] = format!("{run}-{number}").into();
            self.0.sign(&JwsHeader { typ: Some("at+jwt"), jku: None }, &claims).unwrap()
        })
    }

    /// Microseconds of CPU that checking one of its signatures takes, with nothing else around it.
    pub fn check_microseconds(&self) -> f64 {
        let (message, verifying) = ([7; 400], self.verifying());
        let signature = self.0.sign_bytes(&message).unwrap();
        let (before, start, mut done) = (CpuTime::of_this_process(), Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_secs(2) {
            verifying.verify(&message, &signature).unwrap();
            done += 1;
        }
        (CpuTime::of_this_process() - before).microseconds() / f64::from(done)
    }
}

/// The same token with another signature: well-formed, by the right key, and worth nothing. Refusals are not remembered.
pub fn spoilt(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}

/// On every core there is: signing with RSA takes a while.
fn in_parallel(count: usize, make: impl Fn(usize) -> String + Sync) -> Vec<String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let make = &make;
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || (thread..count).step_by(threads).map(make).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

fn find(folder: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).find_map(|path| {
        let is_it = path.file_name().is_some_and(|name| name == file::ES256_PRIVATE_PEM);
        if path.is_dir() { find(&path) } else { is_it.then_some(path) }
    })
}
