//! PEM text (RFC 7468), read and written.
//!
//! Our own reader, because the ones at hand copy the Base64 of a private key into memory that is not wiped, or skip
//! the blocks they don't know: then an encrypted key is "no key found", and nobody learns why.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyProblem;

/// The label of a PKCS#8 private key.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// The label of a SubjectPublicKeyInfo.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";
/// The label of an X.509 certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";

/// No key or certificate that we can use comes near this.
const LONGEST: usize = 64 * 1024;

/// Encodes DER as one PEM block: 64 columns, a newline after the last line.
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut base64 = Zeroizing::new(String::with_capacity(der.len() * 4 / 3 + 4));
    STANDARD.encode_string(der, &mut base64);
    // Room for everything at once: a String that grows leaves unwiped copies of a private key behind.
    let mut text = Zeroizing::new(String::with_capacity(base64.len() + base64.len() / 64 + 2 * label.len() + 40));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, following) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = following;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

/// The DER of the only block, which must bear this label. Text around it is allowed (RFC 7468 §2), and so is the
/// `EC PARAMETERS` block that `openssl ecparam -genkey` puts before a key.
pub fn only_block(text: &[u8], expected: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let mut blocks = blocks(text)?.into_iter().filter(|block| block.label != "EC PARAMETERS");
    let block = blocks.next().ok_or(KeyProblem::NoPem { expected })?;
    if blocks.next().is_some() {
        return Err(KeyProblem::SeveralBlocks { expected });
    }
    block.decode(expected)
}

/// The DER of the first block, which must bear this label; a chain may follow it.
pub fn first_block(text: &[u8], expected: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    blocks(text)?.into_iter().next().ok_or(KeyProblem::NoPem { expected })?.decode(expected)
}

/// A block that was begun and ended; its content is not decoded yet.
struct Block<'text> {
    label: &'text str,
    lines: Vec<&'text str>,
}

impl Block<'_> {
    fn decode(&self, expected: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        match self.label {
            label if label == expected => {}
            "ENCRYPTED PRIVATE KEY" => return Err(KeyProblem::Encrypted),
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" if self.has_headers() => return Err(KeyProblem::Encrypted),
            "RSA PRIVATE KEY" => return Err(KeyProblem::OldForm { found: "RSA PRIVATE KEY" }),
            "EC PRIVATE KEY" => return Err(KeyProblem::OldForm { found: "EC PRIVATE KEY" }),
            _ => return Err(KeyProblem::OtherBlock { expected }),
        }
        let length = self.lines.iter().map(|line| line.len()).sum();
        let mut base64 = Zeroizing::new(Vec::with_capacity(length));
        for line in &self.lines {
            base64.extend(line.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        }
        let mut der = Zeroizing::new(vec![0; length / 4 * 3 + 3]);
        let written = STANDARD.decode_slice(&*base64, &mut der).map_err(|_| KeyProblem::DamagedPem)?;
        der.truncate(written);
        Ok(der)
    }

    /// `Proc-Type: 4,ENCRYPTED` and its like (RFC 1421 §4.6).
    fn has_headers(&self) -> bool {
        self.lines.iter().any(|line| line.contains(':'))
    }
}

fn blocks(text: &[u8]) -> Result<Vec<Block<'_>>, KeyProblem> {
    if text.len() > LONGEST {
        return Err(KeyProblem::TooLong);
    }
    // What is not UTF-8 cannot hold a PEM block either.
    let text = std::str::from_utf8(text).map_err(|_| KeyProblem::DamagedPem)?;
    let mut found = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(label) = boundary(line, "-----BEGIN ") {
            if open.replace(Block { label, lines: Vec::new() }).is_some() {
                return Err(KeyProblem::DamagedPem);
            }
        } else if let Some(label) = boundary(line, "-----END ") {
            found.push(open.take().filter(|block| block.label == label).ok_or(KeyProblem::DamagedPem)?);
        } else if let Some(block) = &mut open {
            block.lines.push(line);
        }
    }
    if open.is_some() { Err(KeyProblem::DamagedPem) } else { Ok(found) }
}

fn boundary<'line>(line: &'line str, start: &str) -> Option<&'line str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}
