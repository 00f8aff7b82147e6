//! Why a run of Maven failed, in Maven's own words without what it says after every failure.

use std::path::Path;

const PREFIX: &str = "[ERROR]";
/// Where the account of a failure begins; lines before it are of modules that went well, or of tests.
const SUMMARY: &str = "BUILD FAILURE";
/// Advice for a person at a terminal.
const ADVICE: [&str; 6] =
    ["To see the full stack trace", "Re-run Maven", "For more information", "After correcting the problems", "[Help ", "mvn "];
const MAX_LINES: usize = 8;
const MAX_CHARS: usize = 2000;

/// `None` where Maven gave no reason.
pub(super) fn reason(output: &str, source: &Path) -> Option<String> {
    let after_summary = output.rfind(SUMMARY).map_or(output, |at| &output[at..]);
    let told = |text: &str| -> Vec<String> {
        let errors = text.lines().filter_map(|line| line.trim().strip_prefix(PREFIX)).map(|line| plain(line, source));
        let mut lines: Vec<String> = Vec::new();
        for line in errors {
            if !line.is_empty() && !ADVICE.iter().any(|advice| line.starts_with(advice)) && !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    };
    let mut lines = told(after_summary);
    if lines.is_empty() {
        lines = told(output);
    }
    lines.truncate(MAX_LINES);
    let text: String = lines.join("; ").chars().take(MAX_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

fn plain(line: &str, source: &Path) -> String {
    let line = match line.rfind(" -> [Help ") {
        Some(at) => &line[..at],
        None => line,
    };
    // Problems of a reactor come with the mark twice, and with the place of a pom that has none.
    let line = line.trim().trim_start_matches(PREFIX).trim_end().trim_end_matches(" @");
    let source = source.display().to_string();
    line.replace(&format!("{source}/"), "").replace(&source, ".").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_maven_says_after_the_summary_and_no_advice() {
        let output = "[INFO] Scanning\n[ERROR] a test that is expected to fail said this\n[INFO] BUILD FAILURE\n[INFO] ----\n\
            [ERROR] Failed to execute goal x:compile (default) on project demo: Compilation failure\n\
            [ERROR] /work/1/source/src/A.java:[3,5] cannot find symbol -> [Help 1]\n[ERROR] \n\
            [ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.\n\
            [ERROR] Re-run Maven using the -X switch to enable full debug logging.\n[ERROR] \n\
            [ERROR] For more information about the errors and possible solutions, please read the following articles:\n\
            [ERROR] [Help 1] http://cwiki.example\n[ERROR] After correcting the problems, you can resume the build with the command\n\
            [ERROR]   mvn <args> -rf :demo\n";
        assert_eq!(
            reason(output, Path::new("/work/1/source")).unwrap(),
            "Failed to execute goal x:compile (default) on project demo: Compilation failure; src/A.java:[3,5] cannot find symbol"
        );
    }

    #[test]
    fn what_fails_before_the_build_has_a_reason_and_silence_has_none() {
        let output = "[INFO] Scanning\n[ERROR] [ERROR] Project 'g:a:1' is duplicated in the reactor @ \n[ERROR] Project 'g:a:1' is duplicated in the reactor @ -> [Help 1]\n";
        assert_eq!(reason(output, Path::new("/x")).unwrap(), "Project 'g:a:1' is duplicated in the reactor");
        assert_eq!(reason("[INFO] BUILD FAILURE\n", Path::new("/x")), None);
        let long = "[ERROR] ".to_owned() + &"x".repeat(10_000);
        assert_eq!(reason(&long, Path::new("/x")).unwrap().len(), MAX_CHARS);
    }
}
