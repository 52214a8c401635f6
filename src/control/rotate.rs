//! Rotation by proof: which key signs, which one waits, which one leaves.
//!
//! ```text
//! Pending ──the EHR accepts it──► Signing ──a newer one is accepted──► Retiring ──48 h──► Retired
//! ```
//! As long as the EHR refuses the new key, the old one goes on. Nothing here makes, deletes or replaces a key.

use jiff::{SignedDuration, Timestamp};

use crate::api::activation::{KeyState, KeyStatus};
use crate::values::key::Thumbprint;

/// How long a key that signs no more stays published: EHRs cache key sets (Epic up to 29 hours), and an assertion that
/// was signed with it just before may still be under way.
pub const PUBLISHED_AFTER_MOVE: SignedDuration = SignedDuration::from_hours(48);

/// The states of an activation's keys after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The keys, oldest first, as status shows and records them.
    pub keys: Vec<KeyStatus>,
    /// What happened now, to tell and to log.
    pub steps: Vec<Step>,
    /// When time alone changes something.
    pub next_change: Option<Timestamp>,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Signing moved to this key.
    Signs {
        /// The key.
        thumbprint: String,
        /// Its revision.
        revision: u32,
    },
    /// This key left the key set.
    Retired {
        /// The key.
        thumbprint: String,
        /// Its revision.
        revision: u32,
    },
}

/// Finds the states of these keys, given which of them the EHR has accepted in real token requests.
pub fn rotate(recorded: &[KeyStatus], is_proven: impl Fn(Thumbprint) -> bool, now: Timestamp) -> Rotated {
    let mut keys = recorded.to_vec();
    let mut steps = Vec::new();
    let signing = keys.iter().find(|key| key.state == KeyState::Signing).map(|key| key.revision);
    let proven = |key: &KeyStatus| key.thumbprint.parse().is_ok_and(&is_proven);
    let next = keys
        .iter()
        .filter(|key| match signing {
            Some(signing) => key.state == KeyState::Pending && key.revision > signing,
            // Status is gone, or the key that signed was withdrawn or lost: any that is left may sign again.
            None => matches!(key.state, KeyState::Pending | KeyState::Retiring | KeyState::Retired),
        })
        .filter(|key| proven(key))
        .max_by_key(|key| key.revision)
        .map(|key| (key.thumbprint.clone(), key.revision));
    if let Some((thumbprint, revision)) = next {
        for key in &mut keys {
            if key.thumbprint == thumbprint {
                key.state = KeyState::Signing;
                key.signing_since = Some(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            } else if key.state == KeyState::Signing {
                key.state = KeyState::Retiring;
            }
        }
        steps.push(Step::Signs { thumbprint, revision });
    }
    let next_change = retire(&mut keys, &mut steps, now);
    Rotated { keys, steps, next_change }
}

/// Retires what the key that signs has made superfluous; tells when the next one is due.
fn retire(keys: &mut [KeyStatus], steps: &mut Vec<Step>, now: Timestamp) -> Option<Timestamp> {
    let signing = keys.iter().find(|key| key.state == KeyState::Signing)?;
    let (revision, since) = (signing.revision, signing.signing_since.as_deref());
    let leaves_at = since
        .and_then(|since| since.parse::<Timestamp>().ok())
        .and_then(|since| since.checked_add(PUBLISHED_AFTER_MOVE).ok());
    let mut next_change = None;
    for key in keys {
        let is_over = match key.state {
            // It never signed for this activation, and never will.
            KeyState::Pending => key.revision < revision,
            KeyState::Retiring => leaves_at.is_some_and(|moment| now >= moment),
            KeyState::Signing | KeyState::Retired | KeyState::Withdrawn | KeyState::Lost => false,
        };
        if is_over {
            key.state = KeyState::Retired;
            steps.push(Step::Retired { thumbprint: key.thumbprint.clone(), revision: key.revision });
        } else if key.state == KeyState::Retiring {
            next_change = leaves_at;
        }
    }
    next_change
}

/// The keys that are worth a proof, newest first: those newer than the one that signs; all that could sign, if none does.
pub fn candidates(keys: &[KeyStatus]) -> Vec<&KeyStatus> {
    let signing = keys.iter().find(|key| key.state == KeyState::Signing).map(|key| key.revision);
    let mut candidates: Vec<&KeyStatus> = keys
        .iter()
        .filter(|key| match signing {
            Some(signing) => key.state == KeyState::Pending && key.revision > signing,
            None => matches!(key.state, KeyState::Pending | KeyState::Retiring | KeyState::Retired),
        })
        .collect();
    candidates.sort_by_key(|key| std::cmp::Reverse(key.revision));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-06-10T12:00:00Z";

    fn name(revision: u32) -> String {
        // Thumbprints are 43 characters of Base64url; the last one holds four bits only.
        format!("{revision:A>42}A")
    }

    fn key(revision: u32, state: KeyState, signing_since: Option<&str>) -> KeyStatus {
        KeyStatus {
            revision,
            kid: name(revision),
            thumbprint: name(revision),
            state,
            secret_name: format!("pair-key-{revision}"),
            certificate_fingerprint: None,
            not_after: None,
            signing_since: signing_since.map(str::to_owned),
        }
    }

    fn rotated(keys: &[KeyStatus], proven: &[u32]) -> Rotated {
        let proven: Vec<Thumbprint> = proven.iter().map(|revision| name(*revision).parse().unwrap()).collect();
        rotate(keys, |thumbprint| proven.contains(&thumbprint), NOW.parse().unwrap())
    }

    fn signs(revision: u32) -> Step {
        Step::Signs { thumbprint: name(revision), revision }
    }

    fn retired(revision: u32) -> Step {
        Step::Retired { thumbprint: name(revision), revision }
    }

    #[test]
    fn a_key_signs_only_once_the_ehr_has_accepted_it() {
        use KeyState::{Lost, Pending, Retired, Retiring, Signing, Withdrawn};
        let old = Some("2026-01-01T00:00:00Z");
        let recent = Some("2026-06-09T12:00:00Z");
        let leaves = Some("2026-06-11T12:00:00Z".parse().unwrap());
        let leaves_after_move = Some("2026-06-12T12:00:00Z".parse().unwrap());
        for (what, before, proven, expected, steps, next_change) in [
            ("a first key waits", vec![key(1, Pending, None)], vec![], vec![key(1, Pending, None)], vec![], None),
            (
                "a first key is accepted",
                vec![key(1, Pending, None)],
                vec![1],
                vec![key(1, Signing, Some(NOW))],
                vec![signs(1)],
                None,
            ),
            (
                "a refused new key leaves the old one signing",
                vec![key(1, Signing, old), key(2, Pending, None)],
                vec![1],
                vec![key(1, Signing, old), key(2, Pending, None)],
                vec![],
                None,
            ),
            (
                "an accepted new key takes over, and the old one stays published for 48 hours",
                vec![key(1, Signing, old), key(2, Pending, None)],
                vec![1, 2],
                vec![key(1, Retiring, old), key(2, Signing, Some(NOW))],
                vec![signs(2)],
                leaves_after_move,
            ),
            (
                "the moment of the move is recorded once",
                vec![key(1, Retiring, old), key(2, Signing, recent)],
                vec![2],
                vec![key(1, Retiring, old), key(2, Signing, recent)],
                vec![],
                leaves,
            ),
            (
                "after 48 hours the old key leaves",
                vec![key(1, Retiring, old), key(2, Signing, Some("2026-06-08T12:00:00Z"))],
                vec![2],
                vec![key(1, Retired, old), key(2, Signing, Some("2026-06-08T12:00:00Z"))],
                vec![retired(1)],
                None,
            ),
            (
                "where status is gone, the newest that is accepted signs, and older ones are not needed",
                vec![key(1, Pending, None), key(2, Pending, None), key(3, Pending, None)],
                vec![1, 2],
                vec![key(1, Retired, None), key(2, Signing, Some(NOW)), key(3, Pending, None)],
                vec![signs(2), retired(1)],
                None,
            ),
            (
                "an older key never takes over from the one that signs",
                vec![key(1, Retiring, old), key(2, Signing, recent)],
                vec![1],
                vec![key(1, Retiring, old), key(2, Signing, recent)],
                vec![],
                leaves,
            ),
            (
                "withdrawn and lost keys stay what they are, however proven",
                vec![key(1, Withdrawn, old), key(2, Lost, None)],
                vec![1, 2],
                vec![key(1, Withdrawn, old), key(2, Lost, None)],
                vec![],
                None,
            ),
            (
                "when the signing key is withdrawn, the one before it may sign again",
                vec![key(1, Retiring, old), key(2, Withdrawn, recent)],
                vec![1],
                vec![key(1, Signing, Some(NOW)), key(2, Withdrawn, recent)],
                vec![signs(1)],
                None,
            ),
        ] {
            assert_eq!(rotated(&before, &proven), Rotated { keys: expected, steps, next_change }, "{what}");
        }
    }

    #[test]
    fn only_keys_newer_than_the_signing_one_are_worth_a_proof() {
        use KeyState::{Pending, Retired, Signing};
        let revisions = |keys: &[KeyStatus]| candidates(keys).iter().map(|key| key.revision).collect::<Vec<_>>();
        assert_eq!(revisions(&[key(1, Retired, None), key(2, Signing, None), key(3, Pending, None)]), [3]);
        assert_eq!(revisions(&[key(1, Pending, None), key(2, Pending, None)]), [2, 1]);
    }
}
