//! Settings that environment variables give. A variable that is set to nothing counts as not set.

use super::finding::{Finding, Place};
use super::layers::{Given, Layer};
use super::setting::Setting;
use std::ffi::OsString;

/// What separates the values of a setting that takes several.
const SEPARATOR: char = ',';

/// How a variable is looked up: the process's own, or those of a test.
pub(crate) type Variables<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

pub(super) fn read(settings: &[Setting], variables: &Variables<'_>) -> Layer {
    let mut layer = Layer::default();
    for setting in settings {
        let Some(text) = variables(&setting.variable).filter(|text| !text.is_empty()) else { continue };
        let words = match text.to_str() {
            Some(list) if setting.repeated => {
                list.split(SEPARATOR).map(str::trim).filter(|word| !word.is_empty()).map(OsString::from).collect()
            }
            Some(_) | None => vec![text],
        };
        let place = Place::Variable(setting.variable.clone());
        match words.iter().find_map(|word| setting.check(word).err().map(|reason| (word, reason))) {
            None => {
                layer.given.insert(setting.id.clone(), Given { place, words });
            }
            Some((word, reason)) => {
                let finding =
                    Finding::error(place, format!("{:?} cannot be used: {reason}", setting.shown(&word.to_string_lossy())))
                        .about(setting.name());
                // Container platforms set NAME_PORT for a service that is named so.
                let is_service_link = word.to_str().is_some_and(|word| word.starts_with("tcp://"));
                layer.findings.push(if is_service_link {
                    finding.hint("Kubernetes sets it for a service of that name; 'enableServiceLinks: false' in the pod keeps it from doing so")
                } else {
                    finding
                });
            }
        }
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::super::layers;
    use super::super::setting;
    use super::*;
    use std::collections::BTreeMap;

    fn read_from(variables: &[(&str, &str)]) -> Layer {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        read(&setting::all(&layers::command()), &|name| variables.get(name).map(OsString::from))
    }

    #[test]
    fn several_values_stand_between_commas_and_nothing_is_not_a_value() {
        let layer = read_from(&[("PYRSIA_PEER", "/ip4/192.0.2.1/tcp/1, /ip4/192.0.2.2/tcp/2,"), ("PYRSIA_KEYPAIR", "")]);
        assert_eq!(layer.given["peer"].words, ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/2"]);
        assert!(layer.given.len() == 1 && layer.findings.is_empty());
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named_with_the_reason() {
        for (name, value) in [("PYRSIA_EXTERNAL_IP", "here"), ("PYRSIA_ARTIFACT_BUDGET", "much"), ("PYRSIA_LISTEN_ONLY", "maybe")]
        {
            let layer = read_from(&[(name, value)]);
            assert!(layer.given.is_empty() && layer.findings[0].to_string().contains(name), "{:?}", layer.findings);
        }
        let link = read_from(&[("PYRSIA_PORT", "tcp://10.0.0.1:7888")]).findings.remove(0).to_string();
        assert!(link.contains("PYRSIA_PORT") && link.contains("enableServiceLinks"), "{link}");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStringExt;
        let path = OsString::from_vec(b"/data/\xff".to_vec());
        let layer = read(&setting::all(&layers::command()), &|name| (name == "PYRSIA_ARTIFACT_PATH").then(|| path.clone()));
        assert_eq!(layer.given["artifact_path"].words, std::slice::from_ref(&path));
        let layer = read(&setting::all(&layers::command()), &|name| (name == "PYRSIA_NETWORK_NAME").then(|| path.clone()));
        assert!(layer.findings[0].problem.contains("not UTF-8"), "{:?}", layer.findings);
    }
}
