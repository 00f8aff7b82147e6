//! `pyrsia_node config schema`: what the configuration file may hold, as JSON Schema (draft 2020-12) for editors and other
//! tools. Made of the arguments themselves; what a value parser refuses beyond type and range, `config check` says.

use super::setting::{Kind, Setting};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn of(settings: &[Setting]) -> String {
    let mut sections: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for setting in settings {
        sections.entry(&setting.section).or_default().insert(&setting.key, property(setting));
    }
    let sections: BTreeMap<&str, Value> = sections.into_iter().map(|(name, keys)| (name, table(json!(keys)))).collect();
    let mut schema = table(json!(sections));
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Configuration file of pyrsia_node");
    // The order of a map depends on how serde_json was built; this one does not.
    let ordered: BTreeMap<String, Value> =
        schema.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    format!("{:#}\n", json!(ordered))
}

fn table(properties: Value) -> Value {
    json!({ "additionalProperties": false, "properties": properties, "type": "object" })
}

fn property(setting: &Setting) -> Value {
    let mut property = BTreeMap::from([("description", json!(setting.help))]);
    let defaults: Vec<Value> = setting.defaults.iter().map(|text| default(setting, text)).collect();
    if setting.repeated {
        property.insert("type", json!("array"));
        property.insert("items", json!(scalar(setting)));
        property.insert("default", json!(defaults));
        if !defaults.is_empty() {
            property.insert("minItems", json!(1));
        }
    } else {
        property.extend(scalar(setting));
        property.extend(defaults.into_iter().next().map(|default| ("default", default)));
    }
    json!(property)
}

fn scalar(setting: &Setting) -> BTreeMap<&'static str, Value> {
    let mut scalar = BTreeMap::from([("type", json!("string"))]);
    match setting.kind {
        Kind::Boolean => {
            scalar.insert("type", json!("boolean"));
        }
        Kind::Integer { min, max } => {
            scalar.insert("type", json!("integer"));
            scalar.insert("minimum", json!(min));
            scalar.extend(max.map(|max| ("maximum", json!(max))));
        }
        Kind::Number => {
            scalar.insert("type", json!("number"));
        }
        Kind::Size => {
            scalar.insert("type", json!(["integer", "string"]));
            scalar.insert("minimum", json!(0));
        }
        Kind::Url => {
            scalar.insert("format", json!("uri"));
        }
        Kind::Path => {
            scalar.insert("minLength", json!(1));
        }
        Kind::Text if !setting.possible.is_empty() => {
            scalar.insert("enum", json!(setting.possible));
        }
        Kind::Text => {}
    }
    scalar
}

fn default(setting: &Setting, text: &str) -> Value {
    match setting.kind {
        Kind::Boolean => json!(text == "true"),
        Kind::Integer { .. } => text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
        Kind::Number => text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number)),
        Kind::Size | Kind::Path | Kind::Url | Kind::Text => json!(text),
    }
}
