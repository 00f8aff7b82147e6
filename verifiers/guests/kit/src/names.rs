//! Names that are one on some file systems: those of Windows and macOS take upper and lower case, and a letter with its accent in one character and in two, for the same.

/// Equal for names that differ in case, also where that changes their length (`ß` and `ss`).
pub fn folded(name: &str) -> String {
    name.to_lowercase().to_uppercase()
}

/// Equal for names that differ in how letters beyond ASCII are composed, and for others besides: composing would take the tables of Unicode.
pub fn outline(name: &str) -> String {
    let mut outline = String::new();
    for character in folded(name).chars() {
        if is_part_of_a_letter(character) {
            outline.pop();
            outline.push('?');
        } else {
            outline.push(if character.is_ascii() { character } else { '?' });
        }
    }
    outline
}

/// Combining marks, the parts of Korean syllables, and the marks of Japanese sounds: what takes part in a composition.
pub fn is_part_of_a_letter(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}' | '\u{1100}'..='\u{11ff}' | '\u{3099}' | '\u{309a}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_file_systems_take_for_one_are_folded_to_one() {
        for (a, b) in [("A/b", "a/B"), ("\u{df}.js", "SS.js"), ("\u{fb01}", "fi"), ("\u{c9}", "\u{e9}")] {
            assert_eq!(folded(a), folded(b), "{a} and {b}");
        }
        assert_ne!(folded("a"), folded("b"));
    }

    #[test]
    fn a_letter_has_one_outline_however_it_is_composed() {
        assert_eq!(outline("caf\u{e9}.js"), outline("cafe\u{301}.js"));
        assert_eq!(outline("\u{1ec7}"), outline("e\u{323}\u{302}"));
        assert_ne!(outline("cafe.js"), outline("cafe\u{301}.js"));
    }
}
