//! Authorizations that wait for a person: between the app's request and the way back lie pages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::request::AuthorizeRequest;
use crate::sandbox::issued::random_text;
use crate::sandbox::people::Person;
use crate::sandbox::user_session::LaunchContext;

/// A person has so many seconds for each page.
const LIFE_SECONDS: i64 = 600;
const MOST_INTERACTIONS: usize = 10_000;

/// One authorization, as far as it has come.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct Interaction {
    pub(in crate::sandbox) request: AuthorizeRequest,
    pub(in crate::sandbox) stage: Stage,
}

/// Which page it waits at.
#[derive(Debug, Clone)]
pub(in crate::sandbox) enum Stage {
    /// Who is it?
    Login,
    /// Which patient is it about?
    Patient { person: &'static Person, context: LaunchContext, authenticated: i64 },
}

/// Those that wait, by the value that their page's form carries.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Interactions {
    waiting: Mutex<HashMap<String, (Interaction, i64)>>,
}

impl Interactions {
    /// Lets an authorization wait; the value for the page's form. `None` without randomness, or when too many wait.
    pub(super) fn wait(&self, interaction: Interaction, now: i64) -> Option<String> {
        let value = random_text()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, expires)| *expires > now);
        if waiting.len() >= MOST_INTERACTIONS {
            return None;
        }
        waiting.insert(value.clone(), (interaction, now + LIFE_SECONDS));
        Some(value)
    }

    /// Takes an authorization up again: each page's form is good once.
    pub(super) fn resume(&self, value: &str, now: i64) -> Option<Interaction> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (interaction, expires) = waiting.remove(value)?;
        (expires > now).then_some(interaction)
    }
}
