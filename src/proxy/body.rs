//! Bodies: whole ones that are short, and streams that may neither stall nor grow without end.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, Sleep, sleep};

use super::room::{Held, Room};

/// Whatever a foreign body may fail with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of requests and answers.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is all there.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why a body came to no good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body stalled")]
    Stalled,
    #[error("the body broke off")]
    Broken,
}

/// Why a body is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HoldError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the gateway holds as many long bodies as it has room for")]
    NoRoom,
}

/// Reads a whole body that must be short and come without long silences.
pub(super) async fn read(body: Body, limit: usize, idle: Duration) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    let extend = |data: &[u8]| {
        whole.extend_from_slice(data);
        true
    };
    read_into(extend, body, limit, idle).await?;
    Ok(whole.into())
}

/// The same, as far as there is room for it.
pub(super) async fn read_held(body: Body, limit: usize, idle: Duration, room: &Room) -> Result<Held, HoldError> {
    let mut whole = room.enter();
    if read_into(|data| whole.extend(data), body, limit, idle).await? { Ok(whole) } else { Err(HoldError::NoRoom) }
}

/// Hands over a body piece by piece; false where a piece was not taken.
async fn read_into(
    mut extend: impl FnMut(&[u8]) -> bool,
    body: Body,
    limit: usize,
    idle: Duration,
) -> Result<bool, BodyError> {
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge);
    }
    let mut body = Watched::new(body, Some(limit), idle);
    let ending = Arc::clone(&body.ending);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ending.get().unwrap_or(BodyError::Broken))?;
        if frame.into_data().is_ok_and(|data| !extend(&data)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How a watched body ended, for those who only see that sending it failed.
#[derive(Debug, Default)]
pub(super) struct Ending(AtomicU8);

impl Ending {
    fn set(&self, error: BodyError) {
        let number = match error {
            BodyError::TooLarge => 1,
            BodyError::Stalled => 2,
            BodyError::Broken => 3,
        };
        self.0.store(number, Ordering::Relaxed);
    }

    /// The fault, if there was one.
    pub(super) fn get(&self) -> Option<BodyError> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(BodyError::TooLarge),
            2 => Some(BodyError::Stalled),
            3 => Some(BodyError::Broken),
            _ => None,
        }
    }
}

/// A client that sends less than that in all the time that it may be silent is as good as silent: it drips to hold a
/// connection open.
const PROGRESS: usize = 1024;

/// A body that fails when it is silent for too long, or longer than it may be. Trailers are dropped.
pub(super) struct Watched<Inner> {
    inner: Inner,
    left: Option<usize>,
    idle: Duration,
    /// How long may still be waited until there must be progress.
    patience: Duration,
    progress: usize,
    /// Runs while the other side is waited for; made when it first is. A receiver that reads slowly is no silence of the
    /// sender's.
    silence: Option<Pin<Box<Sleep>>>,
    waits: bool,
    pub(super) ending: Arc<Ending>,
}

impl<Inner> Watched<Inner> {
    pub(super) fn new(inner: Inner, limit: Option<usize>, idle: Duration) -> Self {
        Self {
            inner,
            left: limit,
            idle,
            patience: idle,
            progress: 0,
            silence: None,
            waits: false,
            ending: Arc::default(),
        }
    }

    fn fail(&self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ending.set(error);
        Poll::Ready(Some(Err(error.into())))
    }
}

impl<Inner> http_body::Body for Watched<Inner>
where
    Inner: http_body::Body<Data = Bytes> + Unpin,
    Inner::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
                let this = &mut *self;
                let silence = this.silence.get_or_insert_with(|| Box::pin(sleep(this.idle)));
                if !this.waits {
                    this.waits = true;
                    silence.as_mut().reset(Instant::now() + this.patience);
                }
                ready!(silence.as_mut().poll(context));
                return self.fail(BodyError::Stalled);
            };
            if std::mem::take(&mut self.waits)
                && let Some(silence) = &self.silence
            {
                self.patience = silence.deadline().saturating_duration_since(Instant::now());
            }
            let data = match frame {
                None => return Poll::Ready(None),
                Some(Err(_)) => return self.fail(BodyError::Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            self.progress = self.progress.saturating_add(data.len());
            // An EHR may be slow as long as it is alive; a client owes some speed.
            if self.left.is_none() || self.progress >= PROGRESS {
                (self.patience, self.progress) = (self.idle, 0);
            }
            if let Some(left) = self.left {
                let Some(left) = left.checked_sub(data.len()) else { return self.fail(BodyError::TooLarge) };
                self.left = Some(left);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;

    const IDLE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_short_body_is_read_and_a_long_one_refused() {
        assert_eq!(read(full("abc"), 3, IDLE).await, Ok("abc".into()));
        assert_eq!(read(full("abcd"), 3, IDLE).await, Err(BodyError::TooLarge));
        let chunks = stream::iter(["ab", "cd"].map(|text| Ok::<_, BoxError>(Frame::data(Bytes::from(text)))));
        assert_eq!(read(StreamBody::new(chunks).boxed_unsync(), 3, IDLE).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_silent_body_is_given_up() {
        let never = stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let soon = Duration::from_millis(20);
        assert_eq!(read(StreamBody::new(never).boxed_unsync(), 3, soon).await, Err(BodyError::Stalled));
    }

    #[tokio::test]
    async fn a_body_that_drips_is_given_up_and_a_slow_ehr_is_not() {
        let idle = Duration::from_millis(400);
        let drip = |size: usize| {
            let ticks = stream::unfold(0_u32, move |count| async move {
                sleep(Duration::from_millis(20)).await;
                (count < 40).then(|| (Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; size]))), count + 1))
            });
            StreamBody::new(Box::pin(ticks)).boxed_unsync()
        };
        assert_eq!(read(drip(10), 1 << 20, idle).await, Err(BodyError::Stalled));
        assert_eq!(read(drip(500), 1 << 20, idle).await.map(|body| body.len()), Ok(20_000));
        let answered = Watched::new(drip(10), None, idle).collect().await.unwrap().to_bytes();
        assert_eq!(answered.len(), 400);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let broken = stream::iter([Ok(Frame::data(Bytes::from("a"))), Err(BoxError::from("gone"))]);
        assert_eq!(read(StreamBody::new(broken).boxed_unsync(), 3, IDLE).await, Err(BodyError::Broken));
    }
}
