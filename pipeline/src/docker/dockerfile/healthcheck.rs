//! `HEALTHCHECK`: the command that an engine runs in a container to learn whether it does its work.
//!
//! Reference: the Dockerfile reference of Docker, "HEALTHCHECK"; the field `Healthcheck` of an image's config, whose
//! durations are nanoseconds; `time.ParseDuration` of Go, whose grammar of durations is that of engines.

use serde_json::{Map, Value, json};

use super::{DockerfileError, Instruction};

/// A shorter duration is refused by engines, except for none at all: 0 stands for their default.
const MIN_NANOSECONDS: u64 = 1_000_000;
/// Digits behind the point of a number that count.
const FRACTION_DIGITS_MAX: usize = 18;
/// The units of a duration, with their nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    // U+00B5 and U+03BC look the same.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

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
            let number = number.ok_or_else(refused)?;
            if number != 0 {
                fields.insert(field.to_owned(), json!(number));
            }
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

/// Numbers, each with its unit, as in `1m30s` and `1.5h`; what is less than a nanosecond is cut off. Image configs have room for an `i64`.
fn nanoseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut sum = 0_u64;
    loop {
        let number = digits(rest);
        rest = &rest[number.len()..];
        let fraction = rest.strip_prefix('.').map(digits);
        rest = &rest[fraction.map_or(0, |fraction| fraction.len() + 1)..];
        let fraction = fraction.unwrap_or_default();
        let name = &rest[..rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len())];
        rest = &rest[name.len()..];
        let (_, unit) = UNITS.into_iter().find(|(unit, _)| *unit == name)?;
        if number.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole = if number.is_empty() { 0 } else { number.parse::<u64>().ok()? };
        sum = sum.checked_add(whole.checked_mul(unit)?)?.checked_add(part_of(unit, fraction))?;
        if rest.is_empty() {
            break;
        }
    }
    Some(sum).filter(|sum| i64::try_from(*sum).is_ok() && (*sum == 0 || *sum >= MIN_NANOSECONDS))
}

fn digits(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())]
}

/// What `fraction`, the digits behind a point, are of a unit.
fn part_of(unit: u64, fraction: &str) -> u64 {
    // Those behind are less than a nanosecond of every unit.
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let (part, whole) =
        fraction.bytes().fold((0_u128, 1_u128), |(part, whole), digit| (part * 10 + u128::from(digit - b'0'), whole * 10));
    (u128::from(unit) * part / whole).try_into().expect("a part of a unit is no more than the unit")
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
    fn durations_are_those_of_engines() {
        for (text, nanoseconds) in [
            ("1h2m3s4ms5us6ns", 3_723_004_005_006_u64),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1s1s", 2_000_000_000),
            ("1000\u{b5}s", 1_000_000),
            ("1000\u{3bc}s", 1_000_000),
            ("1.0000000019s", 1_000_000_001),
            ("0.33333333333333333333h", 1_199_999_999_999),
            ("2562047h", 2_562_047 * 3_600_000_000_000),
        ] {
            assert_eq!(read(&format!("HEALTHCHECK --timeout={text} CMD a")).unwrap()["Timeout"], json!(nanoseconds), "{text}");
        }
        // No duration at all: what engines take for themselves.
        assert_eq!(
            read("HEALTHCHECK --interval=0 --start-period=0s --retries=0 CMD a").unwrap(),
            json!({ "Test": ["CMD-SHELL", "a"] })
        );
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
            "HEALTHCHECK --interval=1us CMD a",
            "HEALTHCHECK --interval=-1s CMD a",
            "HEALTHCHECK --interval= CMD a",
            "HEALTHCHECK --interval=30 CMD a",
            "HEALTHCHECK --interval=.s CMD a",
            "HEALTHCHECK --interval=1d CMD a",
            "HEALTHCHECK --interval=1M CMD a",
            "HEALTHCHECK --interval=1hour CMD a",
            "HEALTHCHECK --interval=1h_1m CMD a",
            "HEALTHCHECK --interval=2562048h CMD a",
            "HEALTHCHECK --retries=-1 CMD a",
            "HEALTHCHECK --retries CMD a",
            "HEALTHCHECK --often=1s CMD a",
        ] {
            assert!(read(line).is_err_and(|error| error.starts_with("line 2: HEALTHCHECK: ")), "{line}");
        }
    }
}
