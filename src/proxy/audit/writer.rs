//! The thread that writes lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use super::verify::{BEGINNING, hash};
use super::{Destination, Entry, Order};
use crate::proxy::Metrics;

/// A log that cannot be written is told of so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The last line is looked for in so much of a file's end. A line of ours has a tenth of it.
const LONGEST_LINE: u64 = 64 * 1024;

/// Chains lines and writes them.
pub(super) struct Writer {
    output: Output,
    /// The hash of the last line.
    previous: String,
    /// Lines that could not be written since the last one that could.
    lost: u64,
    /// The same of those that found no place in the queue.
    dropped: Arc<AtomicU64>,
    told: Option<Instant>,
    metrics: Arc<Metrics>,
}

enum Output {
    StandardOutput,
    File(LogFile),
}

struct LogFile {
    path: PathBuf,
    longest: u64,
    /// `None` after a failure to open it anew.
    file: Option<File>,
    length: u64,
}

/// A line, as it is written.
#[derive(Serialize)]
struct Line<'line> {
    #[serde(flatten)]
    entry: &'line Entry,
    /// How many lines before this one could not be written.
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
    previous: &'line str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Writer {
    pub(super) fn open(destination: Destination, dropped: Arc<AtomicU64>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (output, previous) = match destination {
            Destination::StandardOutput => (Output::StandardOutput, BEGINNING.to_owned()),
            Destination::File { path, longest } => {
                let previous = last_hash(&path)?;
                (Output::File(LogFile::open(path, longest)?), previous)
            }
        };
        Ok(Self { output, previous, lost: 0, dropped, told: None, metrics })
    }

    /// Writes until nobody can send another order.
    pub(super) fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.blocking_recv() {
            match order {
                Order::Write(entry) => self.write(&entry),
                Order::Reopen => self.reopen(),
            }
        }
        if let Output::File(LogFile { file: Some(file), .. }) = &self.output
            && let Err(error) = file.sync_all()
        {
            self.tell(&error);
        }
    }

    fn write(&mut self, entry: &Entry) {
        self.lost = self.lost.saturating_add(self.dropped.swap(0, Ordering::Relaxed));
        let line = Line { entry, lost: self.lost, previous: &self.previous };
        let written = serde_json::to_string(&line).map_err(io::Error::from).and_then(|text| {
            self.output.write(&text)?;
            Ok(hash(text.as_bytes()))
        });
        match written {
            Ok(hash) => {
                (self.previous, self.lost) = (hash, 0);
                self.metrics.audit_records.inc();
            }
            Err(error) => {
                self.lost = self.lost.saturating_add(1);
                self.metrics.audit_lost.inc();
                self.tell(&error);
            }
        }
    }

    fn reopen(&mut self) {
        if let Output::File(file) = &mut self.output
            && let Err(error) = file.reopen()
        {
            self.tell(&error);
        }
    }

    fn tell(&mut self, error: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::error!(%error, lost = self.lost, "THE AUDIT LOG CANNOT BE WRITTEN: requests go on, lines are lost");
        }
    }
}

impl Output {
    fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::StandardOutput => {
                let mut output = io::stdout().lock();
                output.write_all(line.as_bytes())?;
                output.write_all(b"\n")?;
                output.flush()
            }
            Self::File(file) => file.write(line),
        }
    }
}

impl LogFile {
    fn open(path: PathBuf, longest: u64) -> io::Result<Self> {
        let (file, length) = appended(&path)?;
        Ok(Self { path, longest, file: Some(file), length })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let text = format!("{line}\n");
        let added = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.length > 0 && self.length.saturating_add(added) > self.longest {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        match file.write_all(text.as_bytes()) {
            Ok(()) => {
                self.length = self.length.saturating_add(added);
                Ok(())
            }
            Err(error) => {
                // Of a line that was written in part nothing stays, or the next one would be glued to it.
                let _ = file.set_len(self.length);
                Err(error)
            }
        }
    }

    /// Puts the file aside under a name that sorts by time, and begins another.
    fn rotate(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ").to_string();
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".{stamp}"));
        fs::rename(&self.path, aside)?;
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        let (file, length) = appended(&self.path)?;
        (self.file, self.length) = (Some(file), length);
        Ok(())
    }
}

fn appended(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// The hash of the last line of what is there; the chain goes on from it.
fn last_hash(path: &Path) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BEGINNING.to_owned()),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // A pipe or a device keeps nothing to go on from.
        return Ok(BEGINNING.to_owned());
    }
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(LONGEST_LINE)))?;
    let mut end = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut end)?;
    let whole = end.strip_suffix(b"\n").unwrap_or(&end);
    let last = whole.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(if last.is_empty() { BEGINNING.to_owned() } else { hash(last) })
}
