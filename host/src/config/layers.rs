//! Settings from several places, laid over one another, each knowing where it came from.
//!
//! | layer | for instance |
//! | --- | --- |
//! | preset | `--mode production` |
//! | file | `[training] batch_size = 8` in the file of `--config` |
//! | environment | `RLHF_TRAINING__BATCH_SIZE=8`: the key in capitals, `__` for each point |
//! | flag | `--batch-size 8`, or `--set training.batch_size=8` |
//!
//! Each value is checked where it stands, so that all mistakes are found in one go.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::tree::{Kind, Node, Step};
use super::{Config, Error, Mode, Problem, file};

/// What variables begin with.
const VARIABLE: &str = "RLHF_";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    Preset(Mode),
    File { path: String, line: usize },
    Environment(String),
    Flag(String),
}

impl Source {
    /// How a message about a mistake begins. What nobody gave can't be mistaken by itself.
    pub(super) fn place(&self) -> Option<String> {
        match self {
            Source::Default | Source::Preset(_) => None,
            Source::File { path, line } => Some(format!("config `{path}`, line {line}")),
            Source::Environment(name) => Some(format!("variable `{name}`")),
            Source::Flag(name) => Some(format!("flag `{name}`")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => formatter.write_str("default"),
            Source::Preset(mode) => write!(formatter, "preset {}", mode.name()),
            Source::File { path, line } => write!(formatter, "{path}, line {line}"),
            Source::Environment(name) | Source::Flag(name) => formatter.write_str(name),
        }
    }
}

/// One value that somebody gave.
#[derive(Clone, Debug)]
struct Setting {
    /// As `training.batch_size`.
    key: String,
    value: Value,
    source: Source,
}

/// What was given, the stronger behind the weaker, with what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Layers {
    /// Adds a file.
    ///
    /// # Errors
    /// It can't be read at all; what is wrong in it is told by [`Layers::over`].
    pub fn file(&mut self, path: &Path) -> Result<(), Error> {
        let (tree, problems) = file::read(path)?;
        self.problems.extend(problems);
        let path = path.display().to_string();
        let source = |line: usize| Source::File {
            path: path.clone(),
            line: line.max(1),
        };
        self.add(tree, source);
        Ok(())
    }

    /// Adds the settings among variables. What begins with `RLHF_` and is neither a setting nor
    /// looks like one belongs to somebody else.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let known = known_keys();
        let mut variables: Vec<(String, String)> = variables.into_iter().collect();
        variables.sort();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(VARIABLE) else {
                continue;
            };
            let key = rest.to_lowercase().replace("__", ".");
            if key.contains('.') || known.contains(&key) {
                self.text(Source::Environment(name), &key, &value);
            } else if let Some(meant) = namesake(&known, &key) {
                let variable = meant.to_uppercase().replace('.', "__");
                self.problems.push(Problem {
                    text: format!("`{key}` lies in a section"),
                    hint: format!("did you mean `{VARIABLE}{variable}`?"),
                    source: Some(Source::Environment(name)),
                    key,
                });
            }
        }
    }

    /// Adds `KEY=VALUE` pairs.
    pub fn pairs(&mut self, flag: &str, pairs: &[String]) {
        for pair in pairs {
            match pair.split_once('=') {
                Some((key, value)) => {
                    let source = Source::Flag(format!("{flag} {}", key.trim()));
                    self.text(source, key.trim(), value);
                }
                None => self.problems.push(Problem {
                    source: Some(Source::Flag(flag.to_owned())),
                    key: String::new(),
                    text: format!("expected KEY=VALUE, found `{pair}`"),
                    hint: format!("for instance `{flag} training.batch_size=8`"),
                }),
            }
        }
    }

    /// Adds `NAME=VALUE` pairs as entries of the table `key`.
    pub fn entries(&mut self, flag: &str, key: &str, pairs: &[String]) {
        for pair in pairs {
            let source = Source::Flag(flag.to_owned());
            match pair.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() && !value.is_empty() => {
                    self.text(source, &format!("{key}.{}", name.trim()), value);
                }
                _ => self.problems.push(Problem {
                    source: Some(source),
                    key: String::new(),
                    text: format!("expected NAME=VALUE, found `{pair}`"),
                    hint: String::new(),
                }),
            }
        }
    }

    /// Adds what a flag says, if it was given.
    pub fn flag<T: Serialize>(&mut self, flag: &str, key: &str, value: &Option<T>) {
        let Some(value) = value else {
            return;
        };
        let source = Source::Flag(flag.to_owned());
        match serde_json::to_value(value) {
            // A number that is none, which JSON can't say.
            Ok(Value::Null) | Err(_) => self.problems.push(Problem {
                source: Some(source),
                ..Problem::of_value(key, "not finite", "a finite number", "")
            }),
            Ok(value) => self.settings.push(Setting {
                key: key.to_owned(),
                value,
                source,
            }),
        }
    }

    /// Adds a flag that is there or is not.
    pub fn switch(&mut self, flag: &str, key: &str, given: bool) {
        self.flag(flag, key, &given.then_some(true));
    }

    /// The strongest word on a key, where it is one.
    pub fn word(&self, key: &str) -> Option<&str> {
        let setting = self.settings.iter().rev().find(|s| s.key == key)?;
        setting.value.as_str()
    }

    /// A value that is given as text: whatever of TOML, a text, and a list with commas fits the key.
    fn text(&mut self, source: Source, key: &str, text: &str) {
        let path: Vec<&str> = key.split('.').collect();
        let toml = toml::from_str::<toml::Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"));
        // JSON would make a null of it, which says that there is none.
        let is_finite = !matches!(toml, Some(toml::Value::Float(number)) if !number.is_finite());
        let toml = toml.filter(|_| is_finite);
        let number = || serde_json::from_str(text).ok().filter(Value::is_number);
        // TOML's whole numbers are half as large as the largest seed.
        let toml = toml
            .and_then(|value| serde_json::to_value(value).ok())
            .or_else(number);
        let list: Vec<&str> = text.split(',').map(str::trim).collect();
        let forms = [toml.clone(), Some(Value::from(text)), Some(list.into())];
        let fits = |value: &Value| {
            let tree = Node::of(&path, value.clone()).value();
            serde_json::from_value::<Config>(tree).is_ok()
        };
        let fitting = forms.into_iter().flatten().find(fits);
        if fitting.is_none() && !is_finite {
            self.problems.push(Problem {
                source: Some(source),
                ..Problem::of_value(key, text, "a finite number", "")
            });
            return;
        }
        // Where none fits, the message is about what was most likely meant.
        let value = fitting.or(toml).unwrap_or_else(|| text.into());
        self.add(Node::of(&path, value), |_| source.clone());
    }

    /// Adds a tree, without what is wrong in it.
    fn add(&mut self, mut tree: Node, source: impl Fn(usize) -> Source) {
        while let Err(error) = serde_path_to_error::deserialize::<_, Config>(tree.value()) {
            let mut path = steps(error.path());
            let message = error.inner().to_string();
            if let Some(unknown) = unknown_field(&message)
                && path.last() != Some(&Step::Name(unknown.to_owned()))
            {
                path.push(Step::Name(unknown.to_owned()));
            }
            // What can't be found is looked for further up, so that each turn takes something out.
            while !path.is_empty() && tree.at(&path).is_none() {
                path.pop();
            }
            let removed = tree.remove(&path);
            let culprit = removed.as_ref().unwrap_or(&tree);
            self.problems.push(Problem {
                source: Some(source(culprit.line)),
                ..readable(&message, culprit)
            });
            if removed.is_none() {
                return;
            }
        }
        for leaf in tree.leaves() {
            self.settings.push(Setting {
                key: leaf.key.clone(),
                value: leaf.value(),
                source: source(leaf.line),
            });
        }
    }

    /// Everything over `base`, which is `preset` if that is given.
    ///
    /// # Errors
    /// Everything that is wrong: keys, types, ranges and contradictions.
    pub fn over(&self, base: &Config, preset: Option<Mode>) -> Result<Resolved, Error> {
        let plain = |config: &Config| serde_json::to_value(config).expect("a config is plain data");
        let defaults = leaves(&plain(&Config::default()));
        let mut merged = plain(base);
        let mut sources: BTreeMap<String, Source> = leaves(&merged)
            .into_iter()
            .map(|(key, value)| {
                let is_default = defaults.get(&key) == Some(&value);
                let source = match preset {
                    Some(mode) if !is_default => Source::Preset(mode),
                    _ => Source::Default,
                };
                (key, source)
            })
            .collect();
        for setting in &self.settings {
            let path: Vec<&str> = setting.key.split('.').collect();
            merge(&mut merged, Node::of(&path, setting.value.clone()).value());
            let within = |outer: &str, inner: &str| {
                inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            if setting.value != Value::Object(serde_json::Map::new()) {
                sources.retain(|key, _| !within(key, &setting.key) && !within(&setting.key, key));
            }
            sources.insert(setting.key.clone(), setting.source.clone());
        }
        let mut problems = self.problems.clone();
        let config: Config = match serde_json::from_value(merged) {
            Ok(config) => config,
            Err(error) => {
                problems.push(readable(&error.to_string(), &Node::root()));
                base.clone()
            }
        };
        problems.extend(config.problems().into_iter().map(|problem| Problem {
            source: sources.get(&problem.key).cloned(),
            ..problem
        }));
        if problems.is_empty() {
            return Ok(Resolved { config, sources });
        }
        // By line within a file; the layers stay in their order.
        problems.sort_by_key(|problem| match &problem.source {
            Some(Source::File { line, .. }) => (0, *line),
            None | Some(Source::Default | Source::Preset(_)) => (0, 0),
            Some(Source::Environment(_)) => (1, 0),
            Some(Source::Flag(_)) => (2, 0),
        });
        Err(Error::Wrong(problems))
    }
}

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub config: Config,
    sources: BTreeMap<String, Source>,
}

impl Resolved {
    /// Where a value comes from, by its key.
    pub fn source(&self, key: &str) -> &Source {
        self.sources.get(key).unwrap_or(&Source::Default)
    }
}

/// Every key there is, as `training.batch_size`.
pub fn known_keys() -> Vec<String> {
    let defaults = serde_json::to_value(Config::default()).expect("a config is plain data");
    leaves(&defaults).into_keys().collect()
}

/// Values by their keys: lists whole, tables only where they are empty.
pub(super) fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn collect(key: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                for (name, value) in entries {
                    let key = match key {
                        "" => name.clone(),
                        key => format!("{key}.{name}"),
                    };
                    collect(&key, value, found);
                }
            }
            _ => drop(found.insert(key.to_owned(), value.clone())),
        }
    }
    let mut found = BTreeMap::new();
    collect("", value, &mut found);
    found
}

/// Objects are merged key by key, everything else is replaced.
fn merge(base: &mut Value, layer: Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, layer) => *base = layer,
    }
}

/// A key whose last part is `name`: that of `[training]` before others.
fn namesake<'a>(known: &'a [String], name: &str) -> Option<&'a String> {
    let mut same = known
        .iter()
        .filter(|key| key.rsplit('.').next() == Some(name));
    let first = same.clone().next();
    same.find(|key| key.starts_with("training.")).or(first)
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    use serde_path_to_error::Segment;
    path.iter()
        .map_while(|segment| match segment {
            Segment::Map { key } => Some(Step::Name(key.clone())),
            Segment::Seq { index } => Some(Step::At(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn unknown_field(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("unknown field `")?;
    rest.split_once('`').map(|(name, _)| name)
}

/// serde's complaint about `culprit`, for people.
fn readable(message: &str, culprit: &Node) -> Problem {
    let key = culprit.key.as_str();
    let problem = |text: String, hint: String| Problem {
        source: None,
        key: key.to_owned(),
        text,
        hint,
    };
    // Names that would have been right stand in backquotes behind the wrong one.
    let names = |message: &str| -> Vec<String> {
        message
            .split('`')
            .skip(3)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    if let Some(found) = unknown_field(message) {
        let known = names(message);
        let section = key.strip_suffix(found).unwrap_or_default();
        let everywhere = known_keys();
        let elsewhere = namesake(&everywhere, found);
        let hint = match (nearest(found, &known), elsewhere) {
            (Some(near), _) => format!("did you mean `{section}{near}`?"),
            (None, Some(elsewhere)) => format!("did you mean `{elsewhere}`?"),
            (None, None) => format!("known here: {}", known.join(", ")),
        };
        return problem(format!("unknown key `{key}`"), hint);
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let found = rest.split('`').next().unwrap_or_default();
        let known = names(message);
        let hint = nearest(found, &known).map(|near| format!("did you mean `{near}`?"));
        let text = format!(
            "`{key}`: expected one of {}, found `{found}`",
            known.join(", ")
        );
        return problem(text, hint.unwrap_or_default());
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return problem(format!("`{key}` lacks {name}"), String::new());
    }
    let expected = message
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    let Some(expected) = expected.filter(|_| message.starts_with("invalid ")) else {
        return problem(format!("`{key}`: {message}"), String::new());
    };
    let expected = match expected {
        "usize" | "u64" | "u32" | "u16" => "a whole number, 0 or more",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "a text",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "a table",
        other => other,
    };
    let (found, hint) = match &culprit.kind {
        Kind::Leaf(Value::String(text)) if text.parse::<f64>().is_ok() => {
            (format!("the text \"{text}\""), "numbers have no quotes")
        }
        Kind::Leaf(Value::String(text)) => (format!("the text \"{text}\""), ""),
        Kind::Leaf(Value::Null) => ("null".to_owned(), ""),
        Kind::Leaf(value) => (value.to_string(), ""),
        Kind::List(_) => ("a list".to_owned(), ""),
        Kind::Table(_) => ("a table".to_owned(), ""),
    };
    let text = format!("`{key}`: expected {expected}, found {found}");
    problem(text, hint.to_owned())
}

/// The known word within an edit distance of a third of its length, if any.
fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (edit_distance(word, candidate), candidate.as_str()))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance over characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(layers: &Layers) -> Result<Resolved, String> {
        let preset = Mode::Production.config(super::super::Origin::Pretrained, None);
        let resolved = layers.over(&preset, Some(Mode::Production));
        resolved.map_err(|error| error.to_string())
    }

    fn variables(pairs: &[(&str, &str)]) -> Layers {
        let mut layers = Layers::default();
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        layers.environment(owned);
        layers
    }

    /// Would catch layers in the wrong order, and a value whose source is told wrongly.
    #[test]
    fn the_stronger_layer_wins_and_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run.toml");
        let text = "seed = 1\n[training]\nbatch_size = 2\nsteps = 5\n[data]\ncolumns = { prompt = \"q\" }\n";
        std::fs::write(&path, text).expect("it can be written");
        let mut layers = Layers::default();
        layers.file(&path).expect("it can be read");
        layers.environment([
            ("RLHF_TRAINING__BATCH_SIZE".to_owned(), "3".to_owned()),
            ("RLHF_TRAINING__STEPS".to_owned(), "6".to_owned()),
            ("RLHF_DATA__COLUMNS__RESPONSE".to_owned(), "7".to_owned()),
            ("RLHF_PLUGIN_PATH".to_owned(), "elsewhere".to_owned()),
        ]);
        layers.flag("--steps", "training.steps", &Some(7));
        let resolved = over(&layers).expect("all is well");
        let training = &resolved.config.training;
        assert_eq!((training.batch_size, training.steps), (3, 7));
        assert_eq!(training.learning_rate, 1e-6, "the preset's");
        let columns = &resolved.config.data.columns;
        assert_eq!(
            (columns["prompt"].as_str(), columns["response"].as_str()),
            ("q", "7")
        );
        let check = |key: &str, expected: &str| {
            let found = resolved.source(key).to_string();
            assert_eq!(found.rsplit('/').next(), Some(expected), "{key}");
        };
        check("seed", "run.toml, line 1");
        check("data.columns.prompt", "run.toml, line 6");
        check("data.columns.response", "RLHF_DATA__COLUMNS__RESPONSE");
        check("training.batch_size", "RLHF_TRAINING__BATCH_SIZE");
        check("training.steps", "--steps");
        check("training.learning_rate", "preset production");
        check("dpo.beta", "default");
    }

    /// Would catch texts that are read as something else than the key takes.
    #[test]
    fn variables_have_the_type_of_their_key() {
        let layers = variables(&[
            ("RLHF_EXPERIMENT_NAME", "7"),
            ("RLHF_DPO__BETA", "1"),
            ("RLHF_MODEL__GRADIENT_CHECKPOINTING", "true"),
            ("RLHF_MODEL__LORA__TARGET_MODULES", "q_proj, v_proj"),
            ("RLHF_EVALUATION__METRICS", "[\"bleu\"]"),
            ("RLHF_GENERATION__EARLY_STOPPING", "never"),
            ("RLHF_TRAINING__METHOD", "grpo"),
            ("RLHF_SEED", "18446744073709551615"),
            ("RLHF_MODEL__BASE_MODEL_NAME", "nan"),
        ]);
        assert_eq!(layers.word("training.method"), Some("grpo"));
        let config = over(&layers).expect("all is well").config;
        assert_eq!(config.experiment_name.as_deref(), Some("7"));
        assert_eq!(config.seed, u64::MAX);
        assert_eq!(config.model.base_model_name, "nan");
        assert_eq!(config.dpo.beta, 1.0);
        assert!(config.model.gradient_checkpointing);
        assert_eq!(config.model.lora.target_modules, ["q_proj", "v_proj"]);
        assert_eq!(config.evaluation.metrics, ["bleu"]);
        assert_eq!(
            config.generation.early_stopping,
            super::super::generation::EarlyStopping::Never
        );
    }

    /// Would catch a variable that passes unread, and one that is nobody's business.
    #[test]
    fn wrong_variables() {
        let check = |name: &str, value: &str, expected: Option<&str>| {
            let found = over(&variables(&[(name, value)])).err();
            assert_eq!(found.as_deref(), expected, "{name}");
        };
        check("RLHF_CACHE", "somewhere", None);
        check("RLHF_MINE", "1", None);
        check(
            "RLHF_BATCH_SIZE",
            "8",
            Some(
                "variable `RLHF_BATCH_SIZE`: `batch_size` lies in a section\nhint: did you mean `RLHF_TRAINING__BATCH_SIZE`?",
            ),
        );
        check(
            "RLHF_DPO__BTA",
            "0.1",
            Some("variable `RLHF_DPO__BTA`: unknown key `dpo.bta`\nhint: did you mean `dpo.beta`?"),
        );
        check(
            "RLHF_SEED",
            "18446744073709551616",
            Some(
                "variable `RLHF_SEED`: `seed`: expected a whole number, 0 or more, found 1.8446744073709552e+19",
            ),
        );
        check(
            "RLHF_PPO__KL_TARGET",
            "nan",
            Some(
                "variable `RLHF_PPO__KL_TARGET`: `ppo.kl_target` is nan; expected a finite number",
            ),
        );
        check(
            "RLHF_TRAINING__STEPS",
            "many",
            Some(
                "variable `RLHF_TRAINING__STEPS`: `training.steps`: expected a whole number, 0 or more, found the text \"many\"",
            ),
        );
    }

    /// Would catch a second mistake that shows only once the first is mended.
    #[test]
    fn everything_wrong_is_said_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run.json");
        let text = r#"{
  "training": {"batch_size": "4", "schedule": "cosin", "learning_rate": 0},
  "dpo": {"bta": 1, "loss": "hinge", "label_smoothing": 0.1},
  "beta": 1,
  "plugins": [{"name": "x"}, {"path": "y", "grant": []}]
}"#;
        std::fs::write(&path, text).expect("it can be written");
        let mut layers = Layers::default();
        layers.file(&path).expect("it can be read");
        layers.pairs(
            "--set",
            &["training.epochs=0".to_owned(), "seed".to_owned()],
        );
        let error = over(&layers).expect_err("much is wrong");
        let error = error.replace(&path.display().to_string(), "run.json");
        let expected = "\
10 settings are wrong
  config `run.json`, line 2: `training.batch_size`: expected a whole number, 0 or more, found the text \"4\"
    hint: numbers have no quotes
  config `run.json`, line 2: `training.schedule`: expected one of constant, linear, cosine, found `cosin`
    hint: did you mean `cosine`?
  config `run.json`, line 2: `training.learning_rate` is 0; expected a number above 0
  config `run.json`, line 3: unknown key `dpo.bta`
    hint: did you mean `dpo.beta`?
  config `run.json`, line 3: `dpo.label_smoothing` is 0.1; expected 0 with this `dpo.loss`
    hint: the losses `sigmoid`, `sigmoid_norm` and `robust` know of wrong labels
  config `run.json`, line 4: unknown key `beta`
    hint: did you mean `dpo.beta`?
  config `run.json`, line 5: `plugins[0]` lacks `path`
  config `run.json`, line 5: unknown key `plugins[1].grant`
    hint: did you mean `plugins[1].grants`?
  flag `--set`: expected KEY=VALUE, found `seed`
    hint: for instance `--set training.batch_size=8`
  flag `--set training.epochs`: `training.epochs` is 0; expected a whole number, 1 or more";
        assert_eq!(error, expected);
    }
}
