//! From what a user names to a file: `--plugin PATH[,name=…][,grant=…][,config=…]`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::grants::Grant;
use super::{Error, Kind, Limits};

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
        }
    }

    /// Reads `PATH[,name=…][,grant=…][,fuel=…][,memory=…][,config={…}]`; `config` comes last.
    ///
    /// # Errors
    /// An unknown key, grant or number, or options that are no JSON object.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let error = |problem: String, hint: &str| Error::Spec {
            text: text.to_owned(),
            problem,
            hint: hint.to_owned(),
        };
        let form = "the form is PATH[,name=NAME][,grant=encoder][,fuel=UNITS][,memory=BYTES][,config={\"key\":value}]";
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
            let number = || {
                value.parse::<u64>().map_err(|_| {
                    error(
                        format!("`{key}` needs a whole number, found `{value}`"),
                        form,
                    )
                })
            };
            match key {
                "name" => {
                    spec.name =
                        Some(super::plain_name(value).map_err(|problem| error(problem, form))?);
                }
                "grant" => {
                    let grant = Grant::named(value);
                    spec.grants.insert(grant.ok_or_else(|| {
                        error(
                            format!("unknown grant `{value}`"),
                            "grants are encoder and sandbox",
                        )
                    })?);
                }
                "fuel" => spec.limits.fuel_per_sample = number()?,
                "memory" => spec.limits.memory_bytes_max = number()? as usize,
                _ => return Err(error(format!("unknown key `{key}`"), form)),
            }
        }
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
    if path.is_file() {
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
                candidates.extend(
                    [
                        Kind::Metric,
                        Kind::RewardShaper,
                        Kind::DataAdapter,
                        Kind::CodeRunner,
                    ]
                    .map(|kind| folder.join(kind.folder()).join(&file)),
                );
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
        check("a.wasm,config=[1]", Err("not a JSON object"));
        check("a.wasm,name=Ünï", Err("kebab-case"));
    }
}
