//! `pyrsia build … --from-file`: asks for each package of a list, a few at a time, and sums up.
//!
//! What a central node does every night: what is published is skipped, what cannot be asked is reported and does not stop
//! the others, and the exit code tells whether every package of the list is published or under way.

use super::follow::{Beginning, follow};
use super::outcome::{in_words, settled};
use super::{Asked, nothing, request, said_of};
use crate::arguments::BuildOptions;
use crate::commands::{print, print_json};
use crate::exit::Failure;
use crate::node_client::{NodeClient, RequestError};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use pyrsia_registry::wire::{RequestBuild, RequestedState};
use reqwest::StatusCode;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

/// A list of a hundred thousand packages has about this size.
const LIST_BYTES_MAX: u64 = 8 << 20;
/// How often a request is made of a node that has too much to do.
const REQUEST_TRIES: u32 = 6;
/// The pause after the first of these; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What came of one line of the list.
#[derive(Debug, Serialize)]
struct Line {
    /// As it stands in the list.
    listed: String,
    #[serde(flatten)]
    asked: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    packages: usize,
    requested: usize,
    running_already: usize,
    published_already: usize,
    /// With `--wait` only: how many of those asked for are published.
    published: usize,
    failed: usize,
}

#[derive(Serialize)]
struct Report {
    summary: Summary,
    packages: Vec<Line>,
}

pub(super) async fn run(node: &NodeClient, package_type: &str, path: &Path, options: BuildOptions) -> Result<(), Failure> {
    let packages = packages(&read(path)?);
    let bar = bar(packages.len(), options.output.json);
    let mut lines = Vec::with_capacity(packages.len());
    let asks = packages.into_iter().map(|package| ask(node, package_type, package, &options));
    let mut answers = futures::stream::iter(asks).buffer_unordered(usize::from(options.jobs));
    while let Some(line) = answers.next().await {
        if !options.output.json {
            let text = format!("{}: {}\n", line.listed, line.in_words());
            bar.suspend(|| print(&text))?;
        }
        bar.inc(1);
        lines.push(line);
    }
    bar.finish_and_clear();
    let summary = summary(&lines, options.wait.wait);
    let failed = summary.failed;
    let words = summary.in_words(options.wait.wait);
    if options.output.json {
        print_json(&Report { summary, packages: lines })?;
    } else {
        print(&format!("{words}\n"))?;
    }
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} packages of the list failed"))) }
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = |source: &mut dyn Read| {
        let mut text = String::new();
        source.take(LIST_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LIST_BYTES_MAX {
            Err(io::Error::other(format!("more than {LIST_BYTES_MAX} bytes")))
        } else {
            Ok(text)
        }
    };
    let text = if path == Path::new("-") {
        read(&mut io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file))
    };
    text.map_err(|error| Failure::because(&format!("cannot read the list {}", path.display()), &error))
}

/// One package on a line, `#` begins a comment, and what stands there twice is asked for once.
fn packages(text: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let without_comment = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    without_comment.filter(|line| !line.is_empty() && seen.insert(*line)).map(str::to_owned).collect()
}

fn bar(packages: usize, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} [{elapsed}]").expect("the template is well formed");
    ProgressBar::new(packages as u64).with_style(style)
}

async fn ask(node: &NodeClient, package_type: &str, listed: String, options: &BuildOptions) -> Line {
    let wish = RequestBuild { package_type: package_type.to_owned(), package: listed.clone(), again: options.again };
    let request = match request_patiently(node, &wish).await {
        Ok(request) => request,
        Err(error) => return Line { listed, asked: None, error: Some(error.to_string()) },
    };
    if request.state == RequestedState::NotPublished {
        let error = Some(nothing(&request).to_string());
        return Line { listed, asked: Some(Asked { request, build: None }), error };
    }
    let (build, error) = match request.build_id {
        Some(id) if options.wait.wait => {
            match follow(node, &id.to_string(), Beginning::Accepted, options.wait.timeout, |_| {}).await {
                Ok(view) => {
                    let error = settled(&view).err().map(|failure| failure.to_string());
                    (Some(view), error)
                }
                Err(failure) => (None, Some(failure.to_string())),
            }
        }
        _ => (None, None),
    };
    Line { listed, asked: Some(Asked { request, build }), error }
}

/// Asks again, a bounded number of times, when the node says that it has too much to do.
async fn request_patiently(
    node: &NodeClient,
    wish: &RequestBuild,
) -> Result<pyrsia_registry::wire::RequestedBuild, RequestError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..REQUEST_TRIES {
        match request(node, wish).await {
            Err(error) if matches!(error.status(), Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    request(node, wish).await
}

impl Line {
    fn in_words(&self) -> String {
        match (&self.error, &self.asked) {
            (Some(error), _) => format!("failed: {error}"),
            (None, Some(Asked { build: Some(view), .. })) => in_words(view),
            (None, Some(asked)) => said_of(&asked.request),
            (None, None) => "nothing was asked".to_owned(),
        }
    }
}

fn summary(lines: &[Line], waited: bool) -> Summary {
    let mut summary = Summary { packages: lines.len(), ..Summary::default() };
    for line in lines {
        match line.asked.as_ref().map(|asked| asked.request.state) {
            Some(RequestedState::Requested) => summary.requested += 1,
            Some(RequestedState::AlreadyOpen) => summary.running_already += 1,
            Some(RequestedState::AlreadyPublished) => summary.published_already += 1,
            Some(RequestedState::NotPublished) | None => {}
        }
        let asked_for = line.asked.as_ref().is_some_and(|asked| asked.build.is_some());
        summary.published += usize::from(waited && asked_for && line.error.is_none());
        summary.failed += usize::from(line.error.is_some());
    }
    summary
}

impl Summary {
    fn in_words(&self, waited: bool) -> String {
        let published = if waited { format!(", {} published by them", self.published) } else { String::new() };
        format!(
            "{} packages: {} builds requested, {} running already{published}, {} published already, {} failed",
            self.packages, self.requested, self.running_already, self.published_already, self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_comments_blank_lines_and_repetitions() {
        let list = "# official images\nalpine:3.16.0\n\n  debian:12 # stable\nalpine:3.16.0\n";
        assert_eq!(packages(list), ["alpine:3.16.0", "debian:12"]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_named() {
        let failure = read(Path::new("/nowhere/list")).unwrap_err();
        assert!(failure.to_string().starts_with("cannot read the list /nowhere/list"), "{failure}");
    }
}
