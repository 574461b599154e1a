//! In what two sets of settings differ, key by key.

use serde_json::Value;

/// A key whose values differ; a key that one side does not have is null there.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// With dots: `training.learning_rate`.
    pub key: String,
    pub there: Value,
    pub here: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, there, here } = self;
        write!(f, "{key} is {there} there and {here} here")
    }
}

/// All differences, in the order of `here`; keys that only `there` has come last.
pub fn differences(there: &Value, here: &Value) -> Vec<Difference> {
    let (there, here) = (leaves(there), leaves(here));
    let of = |all: &[(String, Value)], key: &str| {
        let found = all.iter().find(|(k, _)| k == key);
        found.map_or(Value::Null, |(_, value)| value.clone())
    };
    let only_there = there
        .iter()
        .filter(|(key, _)| here.iter().all(|(k, _)| k != key));
    here.iter()
        .chain(only_there)
        .map(|(key, _)| Difference {
            key: key.clone(),
            there: of(&there, key),
            here: of(&here, key),
        })
        .filter(|difference| difference.there != difference.here)
        .collect()
}

/// The values of nested objects under dotted keys.
fn leaves(value: &Value) -> Vec<(String, Value)> {
    fn walk(prefix: &str, value: &Value, all: &mut Vec<(String, Value)>) {
        match value.as_object() {
            Some(object) if !object.is_empty() => {
                for (key, value) in object {
                    let key = match prefix {
                        "" => key.clone(),
                        prefix => format!("{prefix}.{key}"),
                    };
                    walk(&key, value, all);
                }
            }
            _ => all.push((prefix.to_owned(), value.clone())),
        }
    }
    let mut all = Vec::new();
    walk("", value, &mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Would catch a difference that is not told, one where there is none, and keys that only one
    // side has.
    #[test]
    fn every_difference_is_named() {
        let check = |there: &Value, here: &Value, expected: &[&str]| {
            let found = differences(there, here);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        let one = json!({"steps": 6, "training": {"rate": 0.1, "seed": "3"}, "lora": null});
        let two = json!({"steps": 8, "training": {"rate": 0.2, "seed": "3"}, "lora": {"rank": 4}});
        check(&one, &one, &[]);
        check(
            &one,
            &two,
            &[
                "steps is 6 there and 8 here",
                "training.rate is 0.1 there and 0.2 here",
                "lora.rank is null there and 4 here",
            ],
        );
        check(
            &two,
            &one,
            &[
                "steps is 8 there and 6 here",
                "training.rate is 0.2 there and 0.1 here",
                "lora.rank is 4 there and null here",
            ],
        );
    }
}
