//! Follows a build until it is closed, and shows how far it is on stderr.
//!
//! A node that does not answer for a moment, as one that is restarted, does not end the wait; one that stays away does.

use super::outcome::{in_words, is_closed};
use crate::commands::request_failure;
use crate::exit::Failure;
use crate::node_client::{NodeClient, RequestError, path_segment};
use crate::terminal::visible;
use indicatif::{ProgressBar, ProgressStyle};
use pyrsia_registry::wire::BuildView;
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(300);
const SPINNER_TICK: Duration = Duration::from_millis(120);
/// How long a node may be away, or not know a build that another one has accepted.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of a build before a node is asked for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// A node has accepted its request.
    Accepted,
    /// Its id, which may be of no build.
    Named,
}

/// Asks for the build until it is closed, and hands every answer to `seen`.
pub(super) async fn follow(
    node: &NodeClient,
    id: &str,
    beginning: Beginning,
    timeout: Duration,
    seen: impl Fn(&BuildView),
) -> Result<BuildView, Failure> {
    let begin = Instant::now();
    let mut last_answer = Instant::now();
    let mut heard_of = beginning == Beginning::Accepted;
    loop {
        let answer = node.get::<BuildView>(&format!("/api/v1/builds/{}", path_segment(id))).await;
        let waited_enough = begin.elapsed() >= timeout;
        match answer {
            Ok(view) => {
                heard_of = true;
                last_answer = Instant::now();
                seen(&view);
                if is_closed(&view) {
                    return Ok(view);
                }
            }
            // That a build goes on is said only of one that was heard of.
            Err(error) if is_worth_waiting(&error) && last_answer.elapsed() < PATIENCE && (heard_of || !waited_enough) => {}
            Err(error) => return Err(request_failure(&format!("Build '{id}' cannot be followed"), &error)),
        }
        if waited_enough {
            let waited = humantime::format_duration(Duration::from_secs(timeout.as_secs()));
            let failure = Failure::new(format!("Build '{id}' has no result after {waited}; it goes on"));
            return Err(failure.hint(format!("run 'pyrsia build status --id {id}' later")));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_worth_waiting(error: &RequestError) -> bool {
    error.is_passing() || error.status() == Some(reqwest::StatusCode::NOT_FOUND)
}

/// A line that changes in place on a terminal; elsewhere a line for each change.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last: RefCell<String>,
    quiet: bool,
}

impl Progress {
    pub(super) fn start(what: &str, quiet: bool) -> Self {
        let on_terminal = !quiet && std::io::stderr().is_terminal();
        let bar = on_terminal.then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {prefix}: {msg} [{elapsed}]").expect("the template is well formed");
            let bar = ProgressBar::new_spinner().with_style(style).with_prefix(what.to_owned());
            bar.enable_steady_tick(SPINNER_TICK);
            bar
        });
        Self { bar, last: RefCell::default(), quiet }
    }

    pub(super) fn show(&self, view: &BuildView) {
        if is_closed(view) {
            return;
        }
        let text = visible(&in_words(view));
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None if self.quiet || *self.last.borrow() == text => {}
            None => {
                let _ = writeln!(std::io::stderr(), "{text}");
                self.last.replace(text);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
