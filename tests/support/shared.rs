//! What the tests of a binary share that run at a time.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

/// Started for the first test that asks, and ended with the last.
pub struct Shared<Thing>(Mutex<Weak<Thing>>);

impl<Thing> Shared<Thing> {
    /// Nobody has asked yet.
    pub const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// What runs; else what `start` gives.
    pub async fn or_start(&self, start: impl Future<Output = Thing>) -> Arc<Thing> {
        let mut running = self.0.lock().await;
        if let Some(thing) = running.upgrade() {
            return thing;
        }
        let thing = Arc::new(start.await);
        *running = Arc::downgrade(&thing);
        thing
    }
}
