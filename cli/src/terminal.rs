//! Text as a terminal may show it.
//!
//! Sentences come from other nodes, pipelines and registries. What a terminal would take for a command, such as to move the
//! cursor or to rename the window, is shown as a mark instead.

/// The text with a mark in the place of each control character but line breaks and tabs.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Failure;

    #[test]
    fn what_others_say_cannot_command_the_terminal() {
        let said = "the build failed: \u{1b}[2J\u{1b}]0;all is well\u{7}\u{9b}31m\rdone\nnext\tline";
        let shown = "the build failed: \u{fffd}[2J\u{fffd}]0;all is well\u{fffd}\u{fffd}31m\u{fffd}done\nnext\tline";
        assert_eq!(visible(said), shown);
        assert_eq!(Failure::new(said).to_string(), shown);
    }
}
