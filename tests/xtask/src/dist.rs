//! `cargo xtask dist`: everything somebody needs who has neither Rust nor Python, in one archive.
//!
//! ```text
//! rlhf-0.1.0-x86_64-unknown-linux-gnu/
//!   rlhf                  the binary; it finds the plugins beside it
//!   plugins/              metrics, rewards, adapters, runners
//!   wit/                  the contract that plugins keep
//!   completions/  man/    for shells and readers
//!   rlhf.schema.json      the schema of configuration files, for editors
//!   LICENSE  THIRD-PARTY.md  README.md  CHANGELOG.md
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::components::{KINDS, plugins};
use crate::workspace::{cargo, root, run, say, shown};

/// Shells, and what completion files are called there.
const SHELLS: [(&str, &str); 5] = [
    ("bash", "rlhf.bash"),
    ("zsh", "_rlhf"),
    ("fish", "rlhf.fish"),
    ("elvish", "rlhf.elv"),
    ("powershell", "rlhf.ps1"),
];

/// How files that hold a licence begin.
const LICENCE_FILES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// What is shipped without being a crate.
const NOT_CRATES: &str = "\
- `plugins/runners/python.wasm` holds CPython 3.14 (PSF-2.0, <https://docs.python.org/3.14/license.html>) as
  componentize-py packs it (Apache-2.0 WITH LLVM-exception), and with it wasi-libc (Apache-2.0 WITH LLVM-exception OR
  Apache-2.0 OR MIT).
- Components of Rust hold the standard library (MIT OR Apache-2.0) and parts of wasi-libc.
";

/// The folder's and the archive's name: version and target, as `rlhf --version` has them.
///
/// # Errors
/// The binary doesn't run, or says something else.
pub fn name(binary: &Path) -> Result<String> {
    let text = output(Command::new(binary).arg("--version"))?;
    let version = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("rlhf "));
    let target = text.lines().find_map(|line| line.strip_prefix("target "));
    match (version, target) {
        (Some(version), Some(target)) => Ok(format!("rlhf-{}-{}", version.trim(), target.trim())),
        _ => bail!("`rlhf --version`: expected a version and a target, found `{text}`"),
    }
}

/// Fills `folder`, which must not be there yet, from a binary and a folder of components.
///
/// # Errors
/// A component is missing, the binary doesn't do as it is told, or something can't be written.
pub fn assemble(binary: &Path, components: &Path, folder: &Path) -> Result<()> {
    make(folder)?;
    let program = folder
        .join("rlhf")
        .with_extension(std::env::consts::EXE_EXTENSION);
    // The same bytes under a second name, where both lie on one disk.
    if fs::hard_link(binary, &program).is_err() {
        copy(binary, &program)?;
    }
    for (_, kind) in KINDS {
        make(&folder.join("plugins").join(kind))?;
    }
    for plugin in plugins()? {
        copy(
            &components.join(&plugin.component),
            &folder.join("plugins").join(&plugin.component),
        )?;
    }
    copy_folder(&root().join("wit"), &folder.join("wit"))?;
    make(&folder.join("completions"))?;
    for (shell, file) in SHELLS {
        let script = output(Command::new(&program).args(["completions", shell]))?;
        write(&folder.join("completions").join(file), &script)?;
    }
    output(
        Command::new(&program)
            .arg("man")
            .arg(folder.join("man/man1")),
    )?;
    let schema = output(Command::new(&program).args(["config", "--schema"]))?;
    write(&folder.join("rlhf.schema.json"), &schema)?;
    for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
        copy(&root().join(file), &folder.join(file))?;
    }
    write(&folder.join("THIRD-PARTY.md"), &third_party()?)
}

/// Packs a folder into `FOLDER.tar.gz` beside it.
///
/// # Errors
/// There is no `tar`, or it fails.
pub fn pack(folder: &Path) -> Result<PathBuf> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        bail!("{}: expected a folder in a folder", folder.display());
    };
    let name = name.to_string_lossy();
    let archive = parent.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(parent)
        .arg(&*name);
    run(&mut tar)?;
    Ok(archive)
}

/// The commit of the work tree, with a word where it has changes; none outside of a clone.
pub fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root())
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(match changed.is_empty() {
        true => commit,
        false => format!("{commit}, with changes"),
    })
}

/// Licences of everything that is compiled into the binary and the components.
///
/// # Errors
/// cargo doesn't tell what that is.
pub fn third_party() -> Result<String> {
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let text = output(cargo().args([
        "metadata",
        "--locked",
        "--offline",
        "--format-version",
        "1",
        "--filter-platform",
        host.trim(),
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let shipped = shipped(&metadata);
    let mut packages: Vec<&Value> = metadata["packages"]
        .as_array()
        .context("cargo metadata: expected `packages`")?
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter(|package| {
            package["id"]
                .as_str()
                .is_some_and(|id| shipped.contains(id))
        })
        .collect();
    packages.sort_by_key(|package| package["name"].as_str());
    let mut page = format!(
        "# Licences of what `rlhf` is made of\n\n{} crates, and:\n\n{NOT_CRATES}\n| crate | licence | source |\n| --- | --- | --- |\n",
        packages.len()
    );
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let label = format!("{} {}", field("name"), field("version"));
        let licence = match field("license") {
            "" => "see its file below",
            licence => licence,
        };
        page.push_str(&format!(
            "| {label} | {licence} | {} |\n",
            field("repository")
        ));
        let folder = Path::new(field("manifest_path")).parent();
        for text in folder.map(licence_texts).transpose()?.unwrap_or_default() {
            texts.entry(text).or_default().insert(label.clone());
        }
    }
    for (text, crates) in texts {
        let crates: Vec<String> = crates.into_iter().collect();
        page.push_str(&format!(
            "\n## {}\n\n```text\n{text}\n```\n",
            crates.join(", ")
        ));
    }
    Ok(page)
}

/// Ids of the packages that the binary and the plugins need when they run.
fn shipped(metadata: &Value) -> BTreeSet<String> {
    let is_root = |package: &Value| {
        let name = package["name"].as_str().unwrap_or_default();
        let is_plugin = KINDS
            .iter()
            .any(|(kind, _)| name.starts_with(&format!("{kind}-")));
        package["source"].is_null() && (name == "rlhf" || is_plugin)
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let id = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (id(&node["id"]), node))
        .collect();
    let roots = list(&metadata["packages"]);
    let mut wanted: Vec<String> = roots
        .iter()
        .filter(|package| is_root(package))
        .map(|package| id(&package["id"]))
        .collect();
    let mut found = BTreeSet::new();
    while let Some(package) = wanted.pop() {
        let Some(node) = nodes
            .get(&package)
            .filter(|_| found.insert(package.clone()))
        else {
            continue;
        };
        for dependency in list(&node["deps"]) {
            // Those for tests and build scripts are not shipped; null is what runs.
            if list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null())
            {
                wanted.push(id(&dependency["pkg"]));
            }
        }
    }
    found
}

fn licence_texts(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if path.is_file() && LICENCE_FILES.iter().any(|start| name.starts_with(start)) {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            texts.push(text.trim().to_owned());
        }
    }
    texts.sort();
    Ok(texts)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| shown(command))?;
    if !output.status.success() {
        bail!(
            "`{}`: {}\n{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| shown(command))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    make(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry.with_context(|| from.display().to_string())?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        match path.is_dir() {
            true => copy_folder(&path, &target)?,
            false => copy(&path, &target)?,
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Says what was made, and how large it is.
///
/// # Errors
/// The archive is not there.
pub fn report(archive: &Path) -> Result<()> {
    let size = fs::metadata(archive)
        .with_context(|| archive.display().to_string())?
        .len();
    say(&format!(
        "{} ({:.1} MB)",
        archive.display(),
        size as f64 / 1e6
    ));
    Ok(())
}
