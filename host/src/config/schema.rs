//! The JSON Schema (draft 2020-12) of configuration files, for editors.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Config;
use super::ranges::Check;

/// The schema: keys, types, defaults and documentation from the sections' types, ranges from
/// [`Config::checks`].
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let schema = settings.into_generator().into_root_schema_for::<Config>();
    let mut schema = schema.to_value();
    schema["title"] = "Configuration of rlhf".into();
    // What an editor finds the schema by.
    schema["properties"]["$schema"] = json!({"type": "string"});
    for check in Config::default().checks() {
        let path = format!("/properties/{}", check.key.replace('.', "/properties/"));
        if let Some(property) = schema.pointer_mut(&path) {
            narrow(property, &check);
        }
    }
    schema
}

fn narrow(property: &mut Value, check: &Check) {
    let is_list = property["type"] == "array";
    for (keyword, bound) in check.range.keywords() {
        let keyword = match keyword {
            "minimum" if is_list => "minItems",
            keyword => keyword,
        };
        // JSON Schema counts in whole numbers where we count in floats.
        property[keyword] = match bound.fract() == 0.0 {
            true => json!(bound as i64),
            false => json!(bound),
        };
    }
}
