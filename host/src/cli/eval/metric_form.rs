//! `--metric NAME[:option=value…]`, beside the form that all plugins have.

use serde_json::{Map, Value};

use crate::plugin::{self, Limits, Spec};

/// Keys of the comma form that may follow the options.
const KEYS: [&str; 5] = ["name", "grant", "weight", "on-failure", "config"];

/// Reads `NAME[:option=value…][,KEY=…]`. A value that is JSON is what it says, any other a text:
/// `codebleu:weights=[0.1,0.1,0.4,0.4]:lang=java`.
///
/// # Errors
/// Those of [`Spec::parse`], or an option that is given twice.
pub fn parse(text: &str) -> Result<Spec, plugin::Error> {
    let Some((path, rest)) = options_in(text) else {
        return Spec::parse(text);
    };
    let keys = KEYS.iter().chain(Limits::KEYS.iter());
    let end = keys.filter_map(|key| rest.find(&format!(",{key}="))).min();
    let (options, tail) = rest.split_at(end.unwrap_or(rest.len()));
    let mut spec = Spec::parse(&format!("{path}{tail}"))?;
    let mut config: Map<String, Value> = serde_json::from_str(&spec.config).unwrap_or_default();
    let mut rest = Some(options);
    while let Some(option) = rest {
        let end = (1..option.len()).find(|at| {
            option.is_char_boundary(*at)
                && option[*at..]
                    .strip_prefix(':')
                    .is_some_and(|behind| key_of(behind).is_some())
        });
        let (this, behind) = option.split_at(end.unwrap_or(option.len()));
        rest = behind.strip_prefix(':');
        let key = key_of(this).unwrap_or_default();
        let value = &this[key.len() + 1..];
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        if config.insert(key.to_owned(), value).is_some() {
            return Err(plugin::Error::Spec {
                text: text.to_owned(),
                problem: format!("the option `{key}` is given twice"),
                hint: "give it once".into(),
            });
        }
    }
    spec.config = Value::Object(config).to_string();
    Ok(spec)
}

/// The path and the options behind it, if there are any.
fn options_in(text: &str) -> Option<(&str, &str)> {
    let head = text.split(',').next()?;
    let mut colons = head.match_indices(':');
    let at = colons.find(|(at, _)| *at > 0 && key_of(&text[at + 1..]).is_some());
    at.map(|(at, _)| (&text[..at], &text[at + 1..]))
}

/// The key that a text begins with, if an `=` follows it.
fn key_of(text: &str) -> Option<&str> {
    let (key, _) = text.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch options that are cut at their commas or colons, or end up in the path.
    #[test]
    fn options_are_read() {
        let check = |text: &str, path: &str, config: &str| {
            let spec = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            // As values: whether a JSON object keeps its order depends on how serde_json was built.
            let value = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
            assert_eq!(spec.path, path);
            assert_eq!(value(&spec.config), value(config));
        };
        check("bleu", "bleu", "{}");
        check("bleu:smooth=method4", "bleu", r#"{"smooth":"method4"}"#);
        check(
            "codebleu:weights=[0.1,0.1,0.4,0.4]:lang=java",
            "codebleu",
            r#"{"lang":"java","weights":[0.1,0.1,0.4,0.4]}"#,
        );
        check(
            "rouge:stemmer=true,name=r,fuel=5M",
            "rouge",
            r#"{"stemmer":true}"#,
        );
        check(
            "a/b.wasm,config={\"x\":\"y:z=1\"}",
            "a/b.wasm",
            "{\"x\":\"y:z=1\"}",
        );
        check("x:text=a:b", "x", r#"{"text":"a:b"}"#);
        check("x:text=", "x", r#"{"text":""}"#);
        assert_eq!(
            parse("rouge:a=1,name=r").expect("reads").name.as_deref(),
            Some("r")
        );
        assert!(parse("x:a=1:a=2").is_err());
        assert!(parse("x:a=1,config={\"a\":2}").is_err());
    }
}
