//! `HEALTHCHECK`: the command that an engine runs in a container to learn whether it does its work.
//!
//! Reference: the Dockerfile reference of Docker, "HEALTHCHECK"; the field `Healthcheck` of an image's config, whose
//! durations are nanoseconds.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{DockerfileError, Instruction};

/// What engines take as a duration; a shorter one is refused by them.
const MIN_DURATION: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::docker) struct Healthcheck(Map<String, Value>);

impl Healthcheck {
    pub(super) fn read(instruction: &Instruction<'_>) -> Result<Self, DockerfileError> {
        let (keyword, command) = instruction.rest.split_once(char::is_whitespace).unwrap_or((instruction.rest, ""));
        let command = command.trim();
        let mut fields = Map::new();
        match keyword.to_ascii_uppercase().as_str() {
            "NONE" if command.is_empty() && instruction.flags.is_empty() => {
                fields.insert("Test".to_owned(), json!(["NONE"]));
            }
            "CMD" if !command.is_empty() => {
                let test = match serde_json::from_str::<Vec<String>>(command) {
                    Ok(words) if words.is_empty() => return Err(instruction.refuse("the array is empty")),
                    Ok(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
                    // What is no valid JSON is a line for the shell, as in CMD.
                    Err(_) => vec!["CMD-SHELL".to_owned(), command.to_owned()],
                };
                fields.insert("Test".to_owned(), json!(test));
            }
            _ => return Err(instruction.refuse("write HEALTHCHECK CMD command, or HEALTHCHECK NONE")),
        }
        for (name, value) in &instruction.flags {
            let refused = || instruction.refuse(format!("--{name} wants a value such as {}", example(name)));
            let value = value.ok_or_else(refused)?;
            let (field, number) = match *name {
                "interval" => ("Interval", nanoseconds(value)),
                "timeout" => ("Timeout", nanoseconds(value)),
                "start-period" => ("StartPeriod", nanoseconds(value)),
                "start-interval" => ("StartInterval", nanoseconds(value)),
                "retries" => ("Retries", value.parse::<u32>().ok().map(u64::from)),
                _ => return Err(instruction.refuse(format!("the flag --{name} is not known"))),
            };
            fields.insert(field.to_owned(), json!(number.ok_or_else(refused)?));
        }
        Ok(Self(fields))
    }

    pub(in crate::docker) fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

fn example(flag: &str) -> &'static str {
    if flag == "retries" { "3" } else { "1m30s" }
}

fn nanoseconds(text: &str) -> Option<u64> {
    let duration = humantime::parse_duration(text).ok().filter(|duration| *duration >= MIN_DURATION)?;
    u64::try_from(duration.as_nanos()).ok().filter(|nanoseconds| i64::try_from(*nanoseconds).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::{Action, parse};
    use serde_json::{Value, json};

    fn read(line: &str) -> Result<Value, String> {
        let file = parse(&format!("FROM scratch\n{line}\n")).map_err(|error| error.to_string())?;
        match &file.steps[0].action {
            Action::Healthcheck(check) => Ok(check.to_json()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_check_of_health_is_read_as_engines_write_it() {
        let second = 1_000_000_000_u64;
        assert_eq!(
            read("HEALTHCHECK --interval=30s --timeout=1m30s --start-period=5m --retries=2 CMD [\"/a\", \"b c\"]").unwrap(),
            json!({ "Test": ["CMD", "/a", "b c"], "Interval": 30 * second, "Timeout": 90 * second,
                    "StartPeriod": 300 * second, "Retries": 2 })
        );
        assert_eq!(
            read("HEALTHCHECK CMD curl -f $URL || exit 1").unwrap(),
            json!({ "Test": ["CMD-SHELL", "curl -f $URL || exit 1"] })
        );
        assert_eq!(read("healthcheck none").unwrap(), json!({ "Test": ["NONE"] }));
    }

    #[test]
    fn a_check_of_health_that_no_engine_would_take_is_refused() {
        for line in [
            "HEALTHCHECK",
            "HEALTHCHECK /bin/true",
            "HEALTHCHECK CMD",
            "HEALTHCHECK CMD []",
            "HEALTHCHECK --interval=1s NONE",
            "HEALTHCHECK --interval=soon CMD a",
            "HEALTHCHECK --interval=0s CMD a",
            "HEALTHCHECK --interval=1000years CMD a",
            "HEALTHCHECK --retries=-1 CMD a",
            "HEALTHCHECK --retries CMD a",
            "HEALTHCHECK --often=1s CMD a",
        ] {
            assert!(read(line).is_err_and(|error| error.starts_with("line 2: HEALTHCHECK: ")), "{line}");
        }
    }
}
