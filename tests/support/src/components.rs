//! Components for tests, built when they are first asked for.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use xtask::components::{Output, Plugin, build};
use xtask::one_file::{compile, replace};
use xtask::setup::setup;
use xtask::workspace::{root, target_dir};

/// What this process has built already. Other processes may build the same:
/// cargo's lock makes them wait, and files are renamed into place.
static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

fn once(name: &str, make: impl FnOnce() -> Result<PathBuf>) -> PathBuf {
    // A test that failed in here must not make the others fail of poison.
    let mut built = BUILT
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let built = built.get_or_insert_default();
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let path = make().unwrap_or_else(|error| panic!("component `{name}`: {error:#}"));
    built.insert(name.to_owned(), path.clone());
    path
}

/// The component of a plugin of this repository: `component("metric-bleu")`.
///
/// # Panics
/// There is no such plugin, or it doesn't compile.
pub fn component(package: &str) -> PathBuf {
    once(package, || {
        let plugin = Plugin::named(package).context("expected a plugin's name: `metric-bleu`")?;
        if !root().join("plugins").join(package).is_dir() {
            bail!("no folder plugins/{package}");
        }
        let compiler = setup()?;
        let built = build(&[plugin], &compiler, Output::OnFailure)?;
        Ok(built.into_iter().next().expect("one is built of one"))
    })
}

/// The component in `folder`: `guest.wat`, a component's text, or `guest.rs`,
/// a crate with the SDK and serde_json.
///
/// # Panics
/// There is neither or both, or it doesn't compile.
pub fn guest(folder: impl AsRef<Path>) -> PathBuf {
    let folder = root().join(folder);
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    once(&folder.to_string_lossy(), || {
        let text = folder.join("guest.wat");
        let source = folder.join("guest.rs");
        // Two suites may have guests of one name.
        let suite = folder.ancestors().nth(2).and_then(Path::file_name);
        let suite = suite.unwrap_or_default().to_string_lossy().into_owned();
        let out = target_dir()?.join("guests").join(&suite);
        fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
        let component = out.join(format!("{name}.wasm"));
        match (text.is_file(), source.is_file()) {
            (true, false) => {
                let bytes = wat::parse_file(&text).map_err(|error| anyhow::anyhow!("{error}"))?;
                replace(&component, &bytes)?;
            }
            (false, true) => {
                let bytes = compile(
                    &format!("guest-{suite}-{name}"),
                    &source,
                    &out,
                    &setup()?,
                    &[],
                )?;
                replace(&component, &bytes)?;
            }
            (text, _) => {
                let found = if text { "both" } else { "neither" };
                bail!(
                    "{}: expected guest.wat or guest.rs, found {found}",
                    folder.display()
                );
            }
        }
        Ok(component)
    })
}
