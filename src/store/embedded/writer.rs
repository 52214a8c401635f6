//! The thread that writes: many jobs, one transaction, one sync.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::file::StoreFile;
use super::rows::{Counts, Rows};
use crate::store::StoreError;

/// How many jobs may wait; beyond that, callers wait to hand theirs in.
const QUEUE: usize = 1_024;
/// How many jobs share a transaction.
const BATCH: usize = 256;
/// After this a disk that does not answer counts as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Works on the rows, and gives back what is to be told once that is committed, or failed to be.
type Job = Box<dyn FnOnce(&mut Rows<'_>) -> Completion + Send>;
type Completion = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What the thread is told.
enum Message {
    Work(Job),
    /// Close the file. (That no sender is left would say it too, but one may be held by a task that runs only after
    /// whoever drops the store has gone on.)
    Stop,
}

/// Hands jobs to the thread. Dropping it waits for the jobs that were handed in, and for the file to be closed.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// Hands jobs to the thread without keeping it alive.
pub(super) struct WeakWriter(mpsc::WeakSender<Message>);

impl Writer {
    pub(super) fn start(file: Arc<StoreFile>, counts: Counts) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || run(&file, counts, messages))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Runs an operation and answers when it is on the disk.
    ///
    /// It runs to its end even if the caller stops waiting.
    pub(super) fn write<T, F>(&self, operation: F) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Rows<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        hand_in(self.queue.clone(), operation)
    }

    pub(super) fn downgrade(&self) -> WeakWriter {
        WeakWriter(self.queue.downgrade())
    }
}

impl WeakWriter {
    /// As [`Writer::write`]; `None` once the writer is gone.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Rows<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<Result<T, StoreError>> {
        Some(hand_in(self.0.upgrade()?, operation).await)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // With a full queue the thread ends by itself, when the last sender is gone.
        if self.queue.try_send(Message::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It tells nothing: a panic of it was logged when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Writer")
    }
}

async fn hand_in<T: Send + 'static>(
    queue: mpsc::Sender<Message>,
    operation: impl FnOnce(&mut Rows<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |rows| {
        let outcome = operation(rows);
        // Nobody listens any more if the caller gave up; the step was made all the same.
        Box::new(move |committed: Result<(), StoreError>| drop(reply.send(committed.and(outcome))))
    });
    let asked = async move {
        let ended = || StoreError::Away { reason: "its file cannot be written".to_owned() };
        queue.send(Message::Work(job)).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    };
    tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|_| {
        Err(StoreError::Away { reason: format!("its disk did not answer within {} s", ANSWER_WITHIN.as_secs()) })
    })
}

fn run(file: &StoreFile, mut counts: Counts, mut messages: mpsc::Receiver<Message>) {
    let mut open = true;
    while open && let Some(first) = messages.blocking_recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Work(job) => batch.push(job),
                Message::Stop => open = false,
            }
            next = (open && batch.len() < BATCH).then(|| messages.try_recv().ok()).flatten();
        }
        // redb may panic on a file that somebody changed under it. Those who wait learn it from their dropped replies.
        match catch_unwind(AssertUnwindSafe(|| write(file, counts.clone(), batch))) {
            Ok(Ok(Some(after))) => counts = after,
            Ok(Ok(None)) => {}
            Ok(Err(reason)) => recover(file, &mut counts, &reason),
            Err(_) => recover(file, &mut counts, "the embedded database panicked"),
        }
    }
    file.close();
}

/// Makes one transaction of a batch, and answers. Gives the counts, if they changed.
fn write(file: &StoreFile, counts: Counts, batch: Vec<Job>) -> Result<Option<Counts>, String> {
    let mut completions = Vec::with_capacity(batch.len());
    let outcome = file.write(|transaction| {
        let mut rows = Rows::open(transaction, counts)?;
        completions.extend(batch.into_iter().map(|job| job(&mut rows)));
        rows.finish()
    });
    let told = outcome.as_ref().map(|_| ()).map_err(|reason| StoreError::Away { reason: reason.clone() });
    for completion in completions {
        completion(told.clone());
    }
    outcome
}

/// After a failed write redb refuses all others until the file is opened anew: a disk that was full may have room again.
fn recover(file: &StoreFile, counts: &mut Counts, reason: &str) {
    tracing::error!(path = %file.path().display(), reason, "the store's file cannot be written");
    match file.reopen() {
        Ok(after) => *counts = after,
        Err(error) => tracing::error!(%error, "the store's file cannot be opened again; the next write tries it anew"),
    }
}
