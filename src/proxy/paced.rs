//! A connection whose other side must take what is written: one that stops reading would hold an answer, and the EHR's
//! connection behind it, for ever. What it still sends (pings, more requests) is no sign of life here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Fails a write that waits for too long until any byte is taken.
pub(super) struct Paced<Io> {
    io: Io,
    longest: Duration,
    /// Runs while a write waits; made when the first one does.
    patience: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

impl<Io> Paced<Io> {
    pub(super) const fn new(io: Io, longest: Duration) -> Self {
        Self { io, longest, patience: None, waits: false }
    }

    fn watch<Done>(&mut self, written: Poll<io::Result<Done>>, context: &mut Context<'_>) -> Poll<io::Result<Done>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(self.longest)));
        if !self.waits {
            self.waits = true;
            patience.as_mut().reset(Instant::now() + self.longest);
        }
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Paced<Io> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Paced<Io> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.watch(written, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn who_takes_a_little_now_and_then_is_served_to_the_end() {
        let (ours, mut theirs) = duplex(16);
        let mut paced = Paced::new(ours, Duration::from_secs(2));
        let writing = tokio::spawn(async move { paced.write_all(&[7; 160]).await.map_err(|error| error.kind()) });
        let mut taken = [0; 16];
        for _ in 0..10 {
            sleep(Duration::from_millis(300)).await;
            theirs.read_exact(&mut taken).await.unwrap();
        }
        assert_eq!(writing.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(16);
        let longest = Duration::from_millis(100);
        let mut paced = Paced::new(ours, longest);
        paced.write_all(&[7; 16]).await.unwrap();
        // Idle connections write nothing, and wait for nothing here.
        sleep(3 * longest).await;
        let began = Instant::now();
        let error = paced.write_all(&[7; 16]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed() >= longest), (io::ErrorKind::TimedOut, true));
    }
}
