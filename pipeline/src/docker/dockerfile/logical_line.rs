//! From the lines of a file to the lines of a Dockerfile: directives, comments and continuations.

use super::DockerfileError;

/// One instruction on one line, and where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogicalLine {
    pub(super) number: usize,
    pub(super) text: String,
}

pub(super) fn logical_lines(text: &str) -> Result<(Vec<LogicalLine>, char), DockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = directives(text)?;
    let mut lines: Vec<LogicalLine> = Vec::new();
    let mut continues = false;
    for (index, physical) in text.lines().enumerate() {
        let trimmed = physical.trim_start();
        // Comments and empty lines are left out in the middle of a continuation too.
        if trimmed.starts_with('#') || trimmed.trim_end().is_empty() {
            continue;
        }
        let (content, goes_on) = match physical.trim_end_matches([' ', '\t', '\r']).strip_suffix(escape) {
            Some(content) => (content, true),
            None => (physical, false),
        };
        match lines.last_mut() {
            Some(line) if continues => line.text.push_str(content),
            _ => lines.push(LogicalLine { number: index + 1, text: content.to_owned() }),
        }
        continues = goes_on;
    }
    for line in &mut lines {
        line.text = line.text.trim().to_owned();
    }
    lines.retain(|line| !line.text.is_empty());
    Ok((lines, escape))
}

/// `# name=value` at the very top; the first line of another form ends them.
fn directives(text: &str) -> Result<char, DockerfileError> {
    let mut escape = '\\';
    for (index, line) in text.lines().enumerate() {
        let directive = line.trim().strip_prefix('#').and_then(|comment| comment.split_once('='));
        let Some((name, value)) = directive else { break };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let refuse = |problem: String| Err(DockerfileError { line: index + 1, instruction: format!("# {name}"), problem });
        match name.as_str() {
            "escape" => match value {
                "\\" => escape = '\\',
                "`" => escape = '`',
                other => return refuse(format!("{other:?} cannot be the escape character, only \\ or `")),
            },
            "syntax" => {
                if !value.starts_with("docker/dockerfile:") && value != "docker/dockerfile" {
                    return refuse(format!(
                        "the frontend {value:?} is not covered by the embedded builder; run a docker engine beside the pipeline"
                    ));
                }
            }
            "check" => {}
            _ => break,
        }
    }
    Ok(escape)
}
