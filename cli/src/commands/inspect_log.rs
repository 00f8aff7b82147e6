//! `pyrsia inspect-log`: the published artifacts of a package, as the ledger has them.

use super::build::in_words;
use super::{node, package_failure, print, print_json};
use crate::arguments::{InspectArguments, InspectCommand, InspectFormat, InspectOptions};
use crate::exit::Failure;
use crate::node_client::{NodeClient, path_segment};
use crate::terminal::visible;
use pyrsia_registry::wire::{
    BuildState, BuildView, InspectDockerRequest, InspectMavenRequest, InspectPackageRequest, LogContent, LogField, LogFormat,
    LogView, OutputParams,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::io::{self, Write};

pub(super) async fn run(arguments: InspectArguments) -> Result<(), Failure> {
    let (asked, options) = asked(arguments);
    let fields = fields(&options)?;
    let (node, view) = (node()?, view(&options, &fields));
    let of = asked.query();
    let answer = match asked {
        Asked::Image(image) => node.post_text("/inspect/docker", &InspectDockerRequest { image, view }).await,
        Asked::Gav(gav) => node.post_text("/inspect/maven", &InspectMavenRequest { gav, view }).await,
        Asked::Package { package_type, package } => {
            let path = format!("/inspect/{}", path_segment(&package_type));
            node.post_text(&path, &InspectPackageRequest { package, view }).await
        }
    };
    let text = answer.map_err(|error| package_failure("Inspect log request failed with error", &error))?;
    show_unpublished(&node, &of).await;
    match options.format {
        InspectFormat::Csv => print(&text),
        InspectFormat::Json => {
            let records: Vec<Value> = serde_json::from_str(&text)
                .map_err(|error| Failure::because("Inspect log request failed with error: the answer is no log", &error))?;
            let shown: Vec<Picked<'_>> = records.iter().map(|record| Picked { record, fields: &fields }).collect();
            print_json(&shown)
        }
    }
}

/// The package, in the words of the request.
enum Asked {
    Image(String),
    Gav(String),
    Package { package_type: String, package: String },
}

impl Asked {
    /// The path that lists the builds of the package.
    fn query(&self) -> String {
        let (package_type, package) = match self {
            Self::Image(image) => ("docker", image),
            Self::Gav(gav) => ("maven", gav),
            Self::Package { package_type, package } => (package_type.as_str(), package),
        };
        format!("/api/v1/builds?package_type={}&id={}", path_segment(package_type), path_segment(package))
    }
}

/// The records are what is published. A newest build that came to nothing, met dissent or is at risk has no record of that, so
/// it is told beside them, on stderr; and so is that there is no build at all, where there can be no records.
async fn show_unpublished(node: &NodeClient, builds: &str) {
    // The log was shown; what this adds is no reason to fail.
    let Ok(builds) = node.get::<Vec<BuildView>>(builds).await else { return };
    if builds.is_empty() {
        let _ = writeln!(io::stderr(), "No build of it was ever asked for; 'pyrsia build' asks for one");
    }
    let untroubled = |view: &BuildView| {
        view.state == BuildState::Published && view.at_risk.is_none() && view.judges.iter().all(|judge| judge.agrees)
    };
    if let Some(newest) = builds.first().filter(|view| !untroubled(view)) {
        let _ = writeln!(io::stderr(), "{}", visible(&in_words(newest)));
    }
}

/// The command line has each of the words, however it was written.
fn asked(arguments: InspectArguments) -> (Asked, InspectOptions) {
    let InspectArguments { command, package_type, coordinate, options } = arguments;
    match command {
        Some(InspectCommand::Docker { image, coordinate, options }) => {
            (Asked::Image(image.or(coordinate).unwrap_or_default()), options)
        }
        Some(InspectCommand::Maven { gav, coordinate, options }) => (Asked::Gav(gav.or(coordinate).unwrap_or_default()), options),
        None => {
            let (package_type, package) = (package_type.unwrap_or_default(), coordinate.unwrap_or_default());
            (Asked::Package { package_type, package }, options)
        }
    }
}

/// The fields that were asked for; none means all.
fn fields(options: &InspectOptions) -> Result<Vec<LogField>, Failure> {
    if options.fields.is_empty() {
        return Ok(LogField::ALL.to_vec());
    }
    let known = |name: &String| {
        LogField::from_name(name).ok_or_else(|| {
            let name = name.trim();
            Failure::usage(format!(
                "Parsing of arguments failed with error: ParseTransparencyLogFieldError {{ invalid_field: {name:?} }}\nFor more information, try '--help'."
            ))
        })
    };
    options.fields.iter().map(known).collect()
}

fn view(options: &InspectOptions, fields: &[LogField]) -> LogView {
    let format = match options.format {
        InspectFormat::Json => LogFormat::Json,
        InspectFormat::Csv => LogFormat::Csv,
    };
    let content = LogContent { fields: fields.to_vec() };
    LogView { output_params: Some(OutputParams { format: Some(format), content: Some(content) }), latest: Some(options.latest) }
}

/// A record of the answer, with its fields in the order they were asked for.
struct Picked<'a> {
    record: &'a Value,
    fields: &'a [LogField],
}

impl Serialize for Picked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for field in self.fields {
            map.serialize_entry(field.name(), &self.record[field.name()])?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(fields: &[&str]) -> InspectOptions {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        InspectOptions { format: InspectFormat::Json, fields, latest: false }
    }

    #[test]
    fn an_unknown_field_is_a_mistake_of_the_command_line() {
        let failure = fields(&options(&["id", " foo"])).unwrap_err();
        let said = "Parsing of arguments failed with error: ParseTransparencyLogFieldError { invalid_field: \"foo\" }\nFor more information, try '--help'.";
        assert_eq!(failure.to_string(), said);
    }

    #[test]
    fn fields_come_in_the_order_they_were_asked_for() {
        let record = serde_json::json!({ "id": "1", "node_id": "n", "timestamp": 7 });
        let fields = fields(&options(&["Timestamp", " id "])).unwrap();
        let shown = serde_json::to_string(&Picked { record: &record, fields: &fields }).unwrap();
        assert_eq!(shown, r#"{"timestamp":7,"id":"1"}"#);
    }
}
