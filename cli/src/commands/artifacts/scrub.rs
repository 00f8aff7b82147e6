//! `pyrsia artifacts scrub`: starts one, follows it, tells what it found.

use super::{admin, store, words};
use crate::arguments::ScrubArguments;
use crate::commands::{admin_failure, node, print, print_json};
use crate::exit::Failure;
use pyrsia_node::bucket::BucketDepth;
use pyrsia_node::storage::{ScrubStart, ScrubView};
use pyrsia_registry::wire::{ScrubRequest, ScrubResponse};
use std::time::{Duration, Instant};

/// How often a scrub that is waited for is looked at.
const POLL: Duration = Duration::from_millis(500);

pub(super) async fn run(arguments: ScrubArguments) -> Result<(), Failure> {
    if arguments.status {
        let view = store(&node()?).await?.scrub;
        return if arguments.output.json { print_json(&view) } else { print(&in_words(&view)) };
    }
    let client = admin(arguments.admin)?;
    let before = store(&client).await?.scrub.last.map(|last| last.started_ms);
    let bucket = if arguments.deep { BucketDepth::Bytes } else { BucketDepth::Sizes };
    let request = ScrubRequest { bytes_per_second: arguments.rate, bucket };
    let answer = client.post("/api/v1/store/scrubs", &request).await;
    let answer: ScrubResponse = answer.map_err(|error| admin_failure("The scrub cannot be started", &error))?;
    if !arguments.wait {
        if arguments.output.json {
            return print_json(&answer);
        }
        let said = match answer.state {
            ScrubStart::Started => "The scrub has begun",
            ScrubStart::Running => "A scrub goes on already",
        };
        return print(&format!("{said}; 'pyrsia artifacts scrub --status' shows how it goes.\n"));
    }
    let deadline = Instant::now() + arguments.timeout;
    loop {
        let view = store(&client).await?.scrub;
        if view.running.is_none()
            && let Some(last) = view.last.filter(|last| Some(last.started_ms) != before)
        {
            return if arguments.output.json { print_json(&last) } else { print(&words::result(&last)) };
        }
        if Instant::now() >= deadline {
            let waited = humantime::format_duration(arguments.timeout);
            return Err(Failure::new(format!("the scrub has not ended within {waited}; it goes on"))
                .hint("'pyrsia artifacts scrub --status' shows how it goes"));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn in_words(view: &ScrubView) -> String {
    let mut text = String::new();
    if let Some(running) = &view.running {
        text += &format!("A scrub goes on since {}: {}.\n", words::moment(running.started_ms), words::progress(running));
    }
    match &view.last {
        Some(last) => text += &words::result(last),
        None if view.running.is_none() => text += "No scrub has ended on this node yet.\n",
        None => {}
    }
    if let (None, Some(next_ms)) = (&view.running, view.next_ms) {
        text += &format!("The next one begins {}.\n", words::moment(next_ms));
    }
    text
}
