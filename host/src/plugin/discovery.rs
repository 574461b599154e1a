//! From what a user names to a file: `--plugin PATH[,name=…][,grant=…][,config=…]`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::grants::{GRANTS, Grant};
use super::{Error, Kind, Limits};
use crate::config::PluginEntry;

/// A plugin as the command line or the configuration names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Path, or name of a shipped component (`codebleu`, `metrics/codebleu.wasm`).
    pub path: String,
    /// Name in reports instead of the plugin's own.
    pub name: Option<String>,
    pub grants: BTreeSet<Grant>,
    /// Options, one JSON object.
    pub config: String,
    pub limits: Limits,
    pub on_failure: OnFailure,
    /// Its share in the reward; finite.
    pub weight: Option<f64>,
    /// What its rewards are cut to, above and below zero; finite, above 0.
    pub clip: Option<f64>,
}

/// What becomes of a sample's reward where a plugin fails or abstains.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OnFailure {
    /// The sample has no reward and is left out. The default.
    #[default]
    Abstain,
    /// The sample gets this in the plugin's place.
    Penalty(f64),
    /// The run ends.
    Abort,
}

impl OnFailure {
    /// For messages.
    pub const FORM: &str = "on-failure is abstain, abort or penalty:NUMBER";

    /// The policy as it is written: `abstain`, `abort`, `penalty:-1`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "abstain" => Some(Self::Abstain),
            "abort" => Some(Self::Abort),
            _ => text
                .strip_prefix("penalty:")
                .and_then(|number| number.parse().ok())
                .filter(|number: &f64| number.is_finite())
                .map(Self::Penalty),
        }
    }
}

impl Spec {
    /// A plugin without options or grants.
    pub fn of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            name: None,
            grants: BTreeSet::new(),
            config: "{}".to_owned(),
            limits: Limits::default(),
            on_failure: OnFailure::default(),
            weight: None,
            clip: None,
        }
    }

    /// The plugin that an entry of the configuration means.
    ///
    /// # Errors
    /// A name, grant, limit or policy that is none.
    pub fn of_entry(entry: &PluginEntry) -> Result<Self, Error> {
        let refuse = |problem: String, hint: &str| Error::Spec {
            text: entry.path.clone(),
            problem,
            hint: hint.to_owned(),
        };
        let mut spec = Spec::of(&entry.path);
        spec.config = serde_json::Value::Object(entry.config.clone()).to_string();
        if let Some(name) = &entry.name {
            let name = super::plain_name(name);
            spec.name = Some(name.map_err(|problem| refuse(problem, "for instance `my-metric`"))?);
        }
        for grant in &entry.grants {
            let parsed = Grant::parse(grant);
            spec.grants
                .insert(parsed.ok_or_else(|| refuse(format!("unknown grant `{grant}`"), GRANTS))?);
        }
        let limits = serde_json::Value::Object(entry.limits.clone());
        spec.limits = serde_json::from_value(limits)
            .map_err(|error| refuse(format!("`limits`: {error}"), "limits are whole numbers"))?;
        spec.limits.validate().map_err(|problem| {
            refuse(format!("`limits`: {problem}"), "see `rlhf plugin --help`")
        })?;
        if let Some(policy) = &entry.on_failure {
            spec.on_failure = OnFailure::parse(policy)
                .ok_or_else(|| refuse(format!("unknown policy `{policy}`"), OnFailure::FORM))?;
        }
        if let Some(weight) = entry.weight {
            if !weight.is_finite() {
                return Err(refuse(format!("`weight` is {weight}"), "for instance 0.5"));
            }
            spec.weight = Some(weight);
        }
        if let Some(clip) = entry.clip {
            if !(clip > 0.0 && clip.is_finite()) {
                return Err(refuse(format!("`clip` is {clip}"), "a number above 0"));
            }
            spec.clip = Some(clip);
        }
        Ok(spec)
    }

    /// The entry of a configuration that means this plugin.
    pub fn to_entry(&self) -> PluginEntry {
        let fields = |limits: &Limits| match serde_json::to_value(limits) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let usual = fields(&Limits::default());
        let set = fields(&self.limits).into_iter();
        PluginEntry {
            path: self.path.clone(),
            name: self.name.clone(),
            grants: self.grants.iter().map(ToString::to_string).collect(),
            limits: set
                .filter(|(key, value)| usual.get(key) != Some(value))
                .collect(),
            on_failure: match self.on_failure {
                OnFailure::Abstain => None,
                OnFailure::Abort => Some("abort".to_owned()),
                OnFailure::Penalty(number) => Some(format!("penalty:{number}")),
            },
            weight: self.weight,
            clip: self.clip,
            config: serde_json::from_str(&self.config).unwrap_or_default(),
        }
    }

    /// Reads `PATH[,name=…][,grant=…][,weight=…][,clip=…][,on-failure=…][,LIMIT=…][,config={…}]`;
    /// `config` comes last. Limits are numbers, sizes may end in `K`, `M` or `G`.
    ///
    /// # Errors
    /// An unknown key, grant or number, or options that are no JSON object.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let error = |problem: String, hint: &str| Error::Spec {
            text: text.to_owned(),
            problem,
            hint: hint.to_owned(),
        };
        let form = "the form is PATH[,name=NAME][,grant=encoder][,fuel=UNITS][,memory=256M][,config={\"key\":value}]";
        // The options are JSON, which has commas of its own.
        let (head, config) = match text.find(",config=") {
            Some(at) => (&text[..at], Some(&text[at + ",config=".len()..])),
            None => (text, None),
        };
        let mut parts = head.split(',');
        let mut spec = Spec::of(parts.next().unwrap_or_default());
        if spec.path.is_empty() {
            return Err(error("no path".into(), form));
        }
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(error(format!("`{part}` is not key=value"), form));
            };
            match key {
                "name" => {
                    spec.name =
                        Some(super::plain_name(value).map_err(|problem| error(problem, form))?);
                }
                "grant" => {
                    let grant = Grant::parse(value);
                    spec.grants.insert(
                        grant.ok_or_else(|| error(format!("unknown grant `{value}`"), GRANTS))?,
                    );
                }
                "on-failure" => {
                    spec.on_failure = OnFailure::parse(value).ok_or_else(|| {
                        error(format!("unknown policy `{value}`"), OnFailure::FORM)
                    })?;
                }
                "weight" => {
                    let weight = value.parse().ok().filter(|weight: &f64| weight.is_finite());
                    spec.weight = Some(weight.ok_or_else(|| {
                        error(format!("`weight` needs a number, found `{value}`"), form)
                    })?);
                }
                "clip" => {
                    let clip = value.parse().ok();
                    let clip = clip.filter(|clip: &f64| *clip > 0.0 && clip.is_finite());
                    spec.clip = Some(clip.ok_or_else(|| {
                        error(
                            format!("`clip` needs a number above 0, found `{value}`"),
                            form,
                        )
                    })?);
                }
                limit if Limits::KEYS.contains(&limit) => {
                    let number = size(value).ok_or_else(|| {
                        error(
                            format!("`{key}` needs a whole number, found `{value}`"),
                            form,
                        )
                    })?;
                    spec.limits.set(limit, number);
                }
                _ => {
                    let keys = Limits::KEYS.join(", ");
                    return Err(error(
                        format!("unknown key `{key}`"),
                        &format!(
                            "keys are name, grant, weight, clip, on-failure, config, and the limits {keys}"
                        ),
                    ));
                }
            }
        }
        spec.limits
            .validate()
            .map_err(|problem| error(problem, form))?;
        if let Some(config) = config {
            let value: Result<serde_json::Map<String, serde_json::Value>, _> =
                serde_json::from_str(config);
            if let Err(problem) = value {
                return Err(error(
                    format!("`config` is not a JSON object: {problem}"),
                    form,
                ));
            }
            spec.config = config.to_owned();
        }
        Ok(spec)
    }

    /// The file it means.
    ///
    /// # Errors
    /// There is none; the message lists where it was looked for.
    pub fn resolve(&self) -> Result<PathBuf, Error> {
        find(&self.path, &plugin_folders())
    }
}

/// A whole number, or one of KiB, MiB or GiB: `5000`, `64M`.
pub fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Folders with shipped components, in the order they are searched:
/// `RLHF_PLUGIN_PATH`, then `plugins` beside the binary, above it (a build
/// tree) and in `lib/rlhf` (an installed tree).
pub fn plugin_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("RLHF_PLUGIN_PATH")
        .map(|paths| std::env::split_paths(&paths).collect())
        .unwrap_or_default();
    let exe = std::env::current_exe().and_then(|exe| exe.canonicalize());
    if let Some(beside) = exe.ok().as_deref().and_then(Path::parent) {
        folders.push(beside.join("plugins"));
        if let Some(above) = beside.parent() {
            folders.push(above.join("plugins"));
            folders.push(above.join("lib/rlhf/plugins"));
        }
    }
    folders
}

fn find(name: &str, folders: &[PathBuf]) -> Result<PathBuf, Error> {
    let path = Path::new(name);
    let is_name = path.components().count() == 1 && path.extension().is_none();
    // A bare name is a shipped one's, whatever lies in the current folder.
    if path.is_file() && !is_name {
        return Ok(path.to_owned());
    }
    let mut tried = Vec::new();
    if path.is_relative() {
        let bare = path.components().count() == 1;
        let file = if bare && path.extension().is_none() {
            format!("{name}.wasm")
        } else {
            name.to_owned()
        };
        for folder in folders {
            let mut candidates = vec![folder.join(&file)];
            if bare {
                candidates.extend(Kind::ALL.map(|kind| folder.join(kind.folder()).join(&file)));
            }
            if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
                return Ok(found);
            }
            if folder.is_dir() {
                tried.push(folder.display().to_string());
            }
        }
    }
    let hint = if path.is_dir() {
        "it is a folder; name the `.wasm` file in it".to_owned()
    } else if path.is_absolute() || tried.is_empty() {
        "check the path; `cargo xtask plugins` builds the shipped ones, and RLHF_PLUGIN_PATH adds folders"
            .to_owned()
    } else {
        format!(
            "looked here and in {}; RLHF_PLUGIN_PATH adds folders",
            tried.join(", ")
        )
    };
    Err(Error::NotFound {
        name: name.to_owned(),
        hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch options that eat each other's commas, and keys that pass unread.
    fn check(text: &str, expected: Result<Spec, &str>) {
        match (Spec::parse(text), expected) {
            (Ok(spec), Ok(expected)) => assert_eq!(spec, expected, "{text}"),
            (Err(error), Err(part)) => {
                let message = error.to_string();
                assert!(message.contains(part), "{text}: {message}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    /// Would catch a configuration that means something else than the flag.
    #[test]
    fn entries_mean_what_flags_mean() {
        let check = |entry: &str, expected: Result<&str, &str>| {
            let entry: PluginEntry = serde_json::from_str(entry).expect("it is an entry");
            match (Spec::of_entry(&entry), expected) {
                (Ok(spec), Ok(flag)) => assert_eq!(spec, Spec::parse(flag).expect("it is a flag")),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{entry:?}: {found:?}"),
            }
        };
        check(
            r#"{"path": "a.wasm", "name": "mine", "grants": ["sandbox", "folder:data"], "weight": 0.5,
                "on_failure": "penalty:-1", "limits": {"fuel_per_sample": 7, "log_lines_max": 3},
                "config": {"a": 1}}"#,
            Ok(
                "a.wasm,name=mine,grant=sandbox,grant=folder:data,weight=0.5,on-failure=penalty:-1,fuel=7,log-lines=3,config={\"a\":1}",
            ),
        );
        check(r#"{"path": "a.wasm"}"#, Ok("a.wasm"));
        for (field, expected) in [
            (r#""grants": ["files"]"#, "unknown grant `files`"),
            (r#""limits": {"fuel": 7}"#, "unknown field `fuel`"),
            (
                r#""limits": {"stack_bytes_max": 7}"#,
                "`stack_bytes_max` is 7",
            ),
            (r#""on_failure": "shrug""#, "unknown policy `shrug`"),
            (r#""name": "Ü""#, "kebab-case"),
        ] {
            let entry = format!("{{\"path\": \"a.wasm\", {field}}}");
            check(&entry, Err(expected));
        }
    }

    #[test]
    fn specs() {
        check("codebleu", Ok(Spec::of("codebleu")));
        check(
            "a.wasm,name=mine,grant=encoder,fuel=7,config={\"a\":1,\"b\":[2,3]}",
            Ok(Spec {
                name: Some("mine".into()),
                grants: BTreeSet::from([Grant::Encoder]),
                config: "{\"a\":1,\"b\":[2,3]}".into(),
                limits: Limits {
                    fuel_per_sample: 7,
                    ..Limits::default()
                },
                ..Spec::of("a.wasm")
            }),
        );
        check("", Err("no path"));
        check("a.wasm,grant=files", Err("unknown grant `files`"));
        check("a.wasm,colour=red", Err("unknown key `colour`"));
        check("a.wasm,fuel=much", Err("whole number"));
        check("a.wasm,memory=99999999999G", Err("whole number"));
        check("a.wasm,memory=8G", Err("expected 0 to 4294901760"));
        check("a.wasm,fuel=0", Err("expected at least 1"));
        check("a.wasm,on-failure=ignore", Err("unknown policy `ignore`"));
        check(
            "a.wasm,grant=folder:data,on-failure=penalty:-1,memory=64M,log-lines=3",
            Ok(Spec {
                grants: BTreeSet::from([Grant::Folder("data".into())]),
                on_failure: OnFailure::Penalty(-1.0),
                limits: Limits {
                    memory_bytes_max: 64 << 20,
                    log_lines_max: 3,
                    ..Limits::default()
                },
                ..Spec::of("a.wasm")
            }),
        );
        check("a.wasm,config=[1]", Err("not a JSON object"));
        check("a.wasm,name=Ünï", Err("kebab-case"));
    }
}
