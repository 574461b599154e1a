//! Do configuration files load, and do wrong ones fail with exactly the text beside them?
//!
//! `valid/*.{toml,json}` load over the fast preset; `invalid/NAME.{toml,json}`
//! fail with the text of `invalid/NAME.err`, in which the file is called by its name. The schema
//! that editors use agrees on both.

use std::path::{Path, PathBuf};

use rlhf::config::{Config, Layers, Method, Mode, Origin, schema};

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/config")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the cases lie there")
        .map(|entry| entry.expect("the entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension != "err"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

fn load(path: &Path) -> Result<Config, String> {
    let mut layers = Layers::default();
    layers.file(path).map_err(|error| error.to_string())?;
    let preset = Mode::Fast.config(Origin::Builtin, None);
    let resolved = layers.over(&preset, Some(Mode::Fast));
    resolved
        .map(|resolved| resolved.config)
        .map_err(|error| error.to_string())
}

/// Would catch a key of the Python project that no longer loads.
#[test]
fn valid() {
    for path in cases("valid") {
        if let Err(error) = load(&path) {
            panic!("{}: {error}", path.display());
        }
    }
}

/// Would catch a message that doesn't say where or what.
#[test]
fn invalid() {
    for path in cases("invalid") {
        let expected = std::fs::read_to_string(path.with_extension("err"))
            .unwrap_or_else(|_| panic!("{} has no .err beside it", path.display()));
        let found = load(&path).expect_err(&format!("{} loads", path.display()));
        let name = path
            .file_name()
            .expect("a file has a name")
            .to_string_lossy();
        let found = found.replace(&path.display().to_string(), &name);
        assert_eq!(found.trim(), expected.trim(), "{name}");
    }
}

/// Would catch a file that resets what it does not name.
#[test]
fn files_lie_over_the_preset() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run.toml");
    std::fs::write(&path, "[training]\nbatch_size = 3\n").expect("it can be written");
    let preset = Mode::Fast.config(Origin::Builtin, None);
    let config = load(&path).expect("it loads");
    assert_eq!(config.training.batch_size, 3);
    assert_eq!(config.training.learning_rate, preset.training.learning_rate);
    assert_eq!(config.model, preset.model);
}

/// Checks values against the schema; one compilation for many.
struct Schema {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Schema {
    fn new() -> Self {
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        let name = "https://rlhf.invalid/schema.json";
        let added = compiler.add_resource(name, schema::schema());
        added.expect("the name is a location");
        // Checks the schema itself against the draft that it names.
        let index = compiler.compile(name, &mut schemas);
        let index = index.unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, index }
    }

    fn check(&self, value: &serde_json::Value) -> Result<(), String> {
        let valid = self.schemas.validate(value, self.index);
        valid.map_err(|error| error.to_string())
    }
}

fn plain(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).expect("it can be read");
    match path
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        true => toml::from_str(&text).expect("it is TOML"),
        false => serde_json::from_str(&text).expect("it is JSON"),
    }
}

/// Would catch a schema that calls a preset, or a file that loads, wrong.
#[test]
fn the_schema_accepts_what_loads() {
    let schema = Schema::new();
    for mode in Mode::ALL {
        for model in [Origin::Builtin, Origin::Pretrained] {
            for method in [None, Some(Method::Ppo)] {
                let preset = mode.config(model, method);
                let value = serde_json::to_value(&preset).expect("a config is plain data");
                if let Err(error) = schema.check(&value) {
                    panic!("{mode:?}, {model:?}, {method:?}: {error}");
                }
            }
        }
    }
    for path in cases("valid") {
        if let Err(error) = schema.check(&plain(&path)) {
            panic!("{}: {error}", path.display());
        }
    }
    let named = serde_json::json!({"$schema": "./rlhf.schema.json", "seed": 1});
    assert_eq!(schema.check(&named), Ok(()));
}

/// Would catch a schema that lets pass what does not load.
#[test]
fn the_schema_refuses_what_does_not() {
    let schema = Schema::new();
    for path in cases("invalid") {
        let name = path.file_name().expect("a file has a name");
        if !name.to_string_lossy().starts_with("syntax") {
            assert!(schema.check(&plain(&path)).is_err(), "{}", path.display());
        }
    }
    // Each range that is checked is in the schema: a value beyond it is refused by both.
    for check in Config::default().checks() {
        for (keyword, bound) in check.range.keywords() {
            let beyond = match keyword {
                "minimum" => bound - 1.0,
                "maximum" => bound + 1.0,
                _ => bound,
            };
            let mut value = match check.key {
                "model.lora.target_modules" => serde_json::json!([]),
                _ if beyond.fract() == 0.0 => serde_json::json!(beyond as i64),
                _ => serde_json::json!(beyond),
            };
            for part in check.key.rsplit('.') {
                value = serde_json::json!({ part: value });
            }
            assert!(schema.check(&value).is_err(), "{value}");
        }
    }
}
