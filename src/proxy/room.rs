//! Room for bodies that must be held whole to be judged: so much for all requests of a proxy together, so that many long
//! ones at once are told to wait instead of taking its memory.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted in.
const UNIT: usize = 1024;

/// The room of a proxy.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Room").field("left_kib", &self.0.available_permits()).finish()
    }
}

impl Room {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Nothing yet.
    pub(super) fn enter(&self) -> Held {
        Held { bytes: Vec::new(), room: self.clone(), places: None }
    }
}

/// Bytes that are held, and the room that they take until they are dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    room: Room,
    places: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes more; false where there is no room for it.
    pub(super) fn extend(&mut self, more: &[u8]) -> bool {
        let wanted = (self.bytes.len() + more.len()).div_ceil(UNIT);
        let taken = self.places.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let Some(missing) = wanted.checked_sub(taken).filter(|missing| *missing > 0) {
            let Ok(missing) = u32::try_from(missing) else { return false };
            let Ok(places) = Arc::clone(&self.room.0).try_acquire_many_owned(missing) else { return false };
            match &mut self.places {
                Some(own) => own.merge(places),
                None => self.places = Some(places),
            }
        }
        self.bytes.extend_from_slice(more);
        true
    }

    /// The bytes as a body that keeps the room until it is sent.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// What stands in their place, if anything does, about as long: it keeps their room.
    pub(super) fn or_replaced(self, text: Option<impl Into<Vec<u8>>>) -> Self {
        match text {
            Some(text) => Self { bytes: text.into(), ..self },
            None => self,
        }
    }

    /// What is sent instead, about as long as these: it keeps their room.
    pub(super) fn replaced(self, text: impl Into<Vec<u8>>) -> Bytes {
        Self { bytes: text.into(), ..self }.into_bytes()
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_takes_room_until_the_last_of_it_is_sent() {
        let room = Room::new(4 * UNIT);
        let (mut one, mut other) = (room.enter(), room.enter());
        assert!(one.extend(&[b'a'; 1500]) && one.extend(&[b'b'; 1000]));
        assert!(other.extend(&[b'c'; UNIT]));
        assert!(!other.extend(b"d"));
        let sent = one.into_bytes();
        let rest = sent.slice(2000..);
        drop(sent);
        assert!(!other.extend(b"d"));
        assert_eq!(rest, [b'b'; 500].as_slice());
        drop(rest);
        assert!(other.extend(b"d"));
        assert_eq!(other.replaced("x".to_owned()), "x");
        assert!(room.enter().extend(&[0; 4 * UNIT]));
    }
}
