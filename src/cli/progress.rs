//! Signs of life on a terminal, for what takes more than a moment. In a pipe and in logs there are none.

use std::borrow::Cow;
use std::pin::pin;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::timeout;

/// Between two pictures.
const TICK: Duration = Duration::from_millis(100);
/// Who waits no longer than this needs no sign of life.
const A_MOMENT: Duration = Duration::from_millis(700);

/// Turns until it is dropped. Standard output is not touched: it may be somebody's file.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    /// Says what is waited for.
    pub(super) fn start(what: impl Into<Cow<'static, str>>) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_message(what);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Says something else.
    pub(super) fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }

    /// Leaves the line as it was before.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Waits for something, and shows that it does once that takes longer than a moment.
pub(super) async fn while_waiting<Done>(what: &'static str, work: impl Future<Output = Done>) -> Done {
    let mut work = pin!(work);
    if let Ok(done) = timeout(A_MOMENT, &mut work).await {
        return done;
    }
    let _spinner = Spinner::start(what);
    work.await
}

/// How much is left to do. Shown once it takes longer than a moment, and in no log.
pub(super) struct Bar {
    bar: ProgressBar,
    since: Instant,
}

impl Bar {
    /// Of `what`, such as `files`.
    pub(super) fn of(what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template(&format!("{{bar:30}} {{pos}}/{{len}} {what}"));
        // The template is ours: if it were broken, the bar would be plain.
        let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
        Self { bar, since: Instant::now() }
    }

    /// So many are left.
    pub(super) fn left(&self, left: usize) {
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let all = self.bar.length().unwrap_or_default().max(left);
        self.bar.set_length(all);
        self.bar.set_position(all - left);
        if self.bar.is_hidden() && self.since.elapsed() > A_MOMENT {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
