//! Answers on HTTP/2 that nobody takes: a client that opens no window for a stream leaves its body unread while the
//! connection lives on. Such a body is dropped after a while, and what it holds with it: the EHR's connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::body::{Body, BoxError};

/// A body, as its connection and its stream share it.
#[derive(Default)]
struct Slot {
    /// Until it ended, or was dropped.
    body: Option<Body>,
    /// When a piece was handed out, until the next one is asked for.
    handed: Option<Instant>,
    ended: bool,
}

/// The bodies that one connection sends.
#[derive(Clone, Default)]
pub(super) struct Awaited(Arc<Mutex<Vec<Weak<Mutex<Slot>>>>>);

impl Awaited {
    /// The body, known here until it is over.
    pub(super) fn watch(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let slot = Arc::new(Mutex::new(Slot { body: Some(body), ..Slot::default() }));
        let mut all = lock(&self.0);
        all.retain(|slot| slot.strong_count() > 0);
        all.push(Arc::downgrade(&slot));
        drop(all);
        WatchedSlot(slot).boxed_unsync()
    }

    /// Drops bodies of which nothing was taken for so long, again and again.
    pub(super) async fn drop_untaken(&self, longest: Duration) {
        loop {
            tokio::time::sleep(longest / 4).await;
            let slots: Vec<_> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
            for slot in slots {
                let mut slot = lock(&slot);
                if slot.handed.is_some_and(|since| since.elapsed() >= longest) {
                    slot.body = None;
                }
            }
        }
    }
}

fn lock<Content>(mutex: &Mutex<Content>) -> std::sync::MutexGuard<'_, Content> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct WatchedSlot(Arc<Mutex<Slot>>);

impl http_body::Body for WatchedSlot {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut slot = lock(&self.0);
        slot.handed = None;
        let Some(body) = slot.body.as_mut() else {
            let untaken = || Some(Err("the client took nothing of its answer for too long".into()));
            return Poll::Ready(if slot.ended { None } else { untaken() });
        };
        let frame = Pin::new(&mut *body).poll_frame(context);
        // What was handed out whole is no longer waited for.
        let is_over = matches!(frame, Poll::Ready(None | Some(Err(_)))) || (frame.is_ready() && body.is_end_stream());
        if is_over {
            (slot.body, slot.ended) = (None, true);
        } else if frame.is_ready() {
            slot.handed = Some(Instant::now());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        let slot = lock(&self.0);
        slot.ended || slot.body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_body_of_which_nothing_is_taken_is_dropped() {
        let awaited = Awaited::default();
        let held = Arc::new(());
        let pieces = stream::unfold(Arc::clone(&held), |held| async move {
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"piece"))), held))
        });
        let mut body = awaited.watch(StreamBody::new(Box::pin(pieces)).boxed_unsync());
        let dropping = tokio::spawn(async move { awaited.drop_untaken(Duration::from_secs(2)).await });
        for _ in 0..10 {
            assert!(body.frame().await.unwrap().is_ok());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(Arc::strong_count(&held), 2, "a slow client is served");
        while Arc::strong_count(&held) == 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the client took nothing of its answer for too long");
        dropping.abort();
    }

    #[tokio::test]
    async fn what_waits_for_the_ehr_or_was_handed_out_whole_is_left_alone() {
        let awaited = Awaited::default();
        let waits = stream::unfold(false, |is_over| async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            (!is_over).then(|| (Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"late"))), true))
        });
        let waiting = awaited.watch(StreamBody::new(Box::pin(waits)).boxed_unsync());
        let whole = Full::new(Bytes::from_static(b"whole")).map_err(|never| match never {}).boxed_unsync();
        let mut whole = awaited.watch(whole);
        let dropping = tokio::spawn(async move { awaited.drop_untaken(Duration::from_millis(100)).await });
        assert_eq!(whole.frame().await.unwrap().unwrap().into_data().unwrap(), "whole");
        assert_eq!(waiting.collect().await.unwrap().to_bytes(), "late");
        assert!(whole.frame().await.is_none());
        dropping.abort();
    }
}
