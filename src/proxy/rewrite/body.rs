//! A body that is rewritten while it passes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;

use super::{Rewriter, Unrewritable};
use crate::proxy::body::BoxError;

/// A body that is all there, rewritten; nothing where it stays as it is.
pub(in crate::proxy) fn rewritten(whole: &[u8], mut rewriter: Rewriter) -> Result<Option<Vec<u8>>, Unrewritable> {
    let mut out = BytesMut::new();
    if rewriter.push(whole, &mut out)? {
        return Ok(None);
    }
    rewriter.finish(&mut out);
    Ok(Some(out.into()))
}

/// A body that is rewritten while it passes: piece by piece, as it is asked for.
pub(in crate::proxy) struct Rewritten<Inner> {
    inner: Inner,
    rewriter: Option<Rewriter>,
    has_begun: bool,
}

impl<Inner> Rewritten<Inner> {
    pub(in crate::proxy) fn new(inner: Inner, rewriter: Rewriter) -> Self {
        Self { inner, rewriter: Some(rewriter), has_begun: false }
    }
}

impl<Inner> http_body::Body for Rewritten<Inner>
where
    Inner: http_body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
            let Some(rewriter) = &mut this.rewriter else { return Poll::Ready(None) };
            let mut out = BytesMut::new();
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let is_first = !std::mem::replace(&mut this.has_begun, true);
                    if is_first && this.inner.is_end_stream() && rewriter.leaves(&data) {
                        this.rewriter = None;
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    match rewriter.push(&data, &mut out) {
                        Ok(true) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Ok(false) => {}
                        Err(error) => {
                            this.rewriter = None;
                            return Poll::Ready(Some(Err(error.into())));
                        }
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    rewriter.finish(&mut out);
                    this.rewriter = None;
                    if out.is_empty() {
                        return Poll::Ready(None);
                    }
                }
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
            }
        }
    }

    /// Known before the end is asked for, so that nobody waits for the end of an answer that is all there.
    fn is_end_stream(&self) -> bool {
        self.rewriter.as_ref().is_none_or(|rewriter| self.inner.is_end_stream() && !rewriter.holds_back())
    }
}
