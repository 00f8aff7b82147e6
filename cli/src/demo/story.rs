//! How the demo tells what happens: numbered steps, with facts below them, in colour on a terminal.

use pyrsia_ledger::Height;
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};

/// Enough of a digest to compare two by eye.
const SHORT_CHARS: usize = 16;

pub(super) fn short(digest: &str) -> String {
    if digest.chars().count() <= SHORT_CHARS {
        digest.to_owned()
    } else {
        digest.chars().take(SHORT_CHARS).chain(['…']).collect()
    }
}

/// Writes to stdout, or nothing at all where scripts read it.
pub(super) struct Story {
    silent: bool,
    colour: bool,
    steps: Cell<u32>,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Dim,
    Green,
}

impl Story {
    pub(super) fn new(silent: bool) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { silent, colour, steps: Cell::new(0) }
    }

    pub(super) fn title(&self, text: &str) {
        self.write(&format!("\n{}\n", self.ink(Ink::Bold, text)));
    }

    pub(super) fn step(&self, text: &str) {
        self.steps.set(self.steps.get() + 1);
        self.write(&format!("\n{} {text}\n", self.ink(Ink::Green, &format!("{:>2}", self.steps.get()))));
    }

    /// What a block brought.
    pub(super) fn block(&self, height: Height, text: &str) {
        self.fact(&format!("block {height}"), text);
    }

    pub(super) fn fact(&self, label: &str, text: &str) {
        self.write(&format!("     {} {text}\n", self.ink(Ink::Dim, &format!("{label:<13}"))));
    }

    pub(super) fn line(&self, text: &str) {
        self.write(&format!("     {text}\n"));
    }

    /// Lines to read or to copy.
    pub(super) fn text(&self, text: &str) {
        for line in text.lines() {
            self.line(line);
        }
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Green => 32,
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn write(&self, text: &str) {
        if self.silent {
            return;
        }
        let mut stdout = io::stdout().lock();
        // A reader who has gone away does not stop the network.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
}
