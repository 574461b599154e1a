//! Plugins in Python: components that hold an interpreter, booted when they
//! are built, with the plugin's modules imported.
//!
//! Such a plugin's folder has `requirements.txt`, which pins componentize-py,
//! `plugin.wit` with the world `local:plugin/component`, the module
//! `rlhf_plugin.py` and the packages it uses. A build takes half a minute, so
//! the component is kept with a hash of everything that went into it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::components::{Output, plugins};
use crate::one_file::replace;
use crate::setup::{pip_install, tools};
use crate::workspace::{root, run, say, shown, target_dir};

/// The module that exports the plugin.
const MODULE: &str = "rlhf_plugin";
/// The world in `plugin.wit`.
const WORLD: &str = "local:plugin/component";

/// Raised when the commands below change what they make of the same files.
const RECIPE: &[u8] = b"1";

/// Whether the folder of a plugin is one in Python.
pub fn is_plugin(folder: &Path) -> bool {
    folder.join("requirements.txt").is_file()
}

/// Installs what the plugins of this repository need.
///
/// # Errors
/// Python or the pinned componentize-py can't be had.
pub fn set_up() -> Result<()> {
    for plugin in plugins()?.iter().filter(|plugin| !plugin.is_crate()) {
        install(&Inputs::read(&plugin.folder())?.requirement()?)?;
    }
    Ok(())
}

/// The component of the plugin in `plugins/PACKAGE`, built unless it is there
/// and nothing has changed. Other processes may ask for the same.
///
/// # Errors
/// Python or the pinned componentize-py can't be had, or the build fails.
pub fn component(package: &str, output: Output) -> Result<PathBuf> {
    let folder = root().join("plugins").join(package);
    let out = target_dir()?.join("components/python").join(package);
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let component = out.join(format!("{package}.wasm"));
    let stamp = out.join("stamp.txt");
    let lock_path = out.join("lock");
    let lock = File::create(&lock_path).with_context(|| lock_path.display().to_string())?;
    // Held until the file is closed.
    lock.lock()
        .with_context(|| lock_path.display().to_string())?;
    let inputs = Inputs::read(&folder)?;
    let hash = inputs.sha256();
    if component.is_file() && fs::read_to_string(&stamp).is_ok_and(|present| present == hash) {
        return Ok(component);
    }
    let requirement = inputs.requirement()?;
    let tool = install(&requirement)?;
    build(&folder, &inputs, &tool, &out, &component, output)
        .with_context(|| format!("plugin `{package}`"))?;
    replace(&stamp, hash.as_bytes())?;
    Ok(component)
}

/// What a component is made of, in order of the names.
struct Inputs(Vec<(String, Vec<u8>)>);

impl Inputs {
    fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(folder, "", &mut files)?;
        let wit = root().join("wit/0.1.0");
        collect(&wit, "wit/", &mut files)?;
        files.sort();
        Ok(Self(files))
    }

    fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(RECIPE);
        hash.update(FIXED_RANDOM);
        for (name, bytes) in &self.0 {
            for part in [name.as_bytes(), bytes.as_slice()] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `componentize-py==VERSION`, the only line of `requirements.txt`.
    fn requirement(&self) -> Result<String> {
        let found = self.0.iter().find(|(name, _)| name == "requirements.txt");
        let text = found.map(|(_, bytes)| String::from_utf8_lossy(bytes).trim().to_owned());
        let text = text.unwrap_or_default();
        if !text.starts_with("componentize-py==") || text.lines().count() != 1 {
            bail!("requirements.txt: expected one line `componentize-py==VERSION`, found `{text}`");
        }
        Ok(text)
    }
}

/// Modules, WIT and requirements; not the README, cases and what Python leaves.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("{prefix}{name}");
        if path.is_dir() {
            if !matches!(&*name, "__pycache__" | "golden") {
                collect(&path, &format!("{place}/"), files)?;
            }
        } else if [".py", ".wit"].iter().any(|end| name.ends_with(end))
            || name == "requirements.txt"
        {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            files.push((place, bytes));
        }
    }
    Ok(())
}

/// The folder into which pip has installed a requirement.
fn install(requirement: &str) -> Result<PathBuf> {
    let tools = tools();
    let folder = tools.join(requirement.replace("==", "-"));
    if folder.is_dir() {
        return Ok(folder);
    }
    say(&format!(
        "installing {requirement} from PyPI (50 MB unpacked) into {}",
        folder.display()
    ));
    fs::create_dir_all(&tools).with_context(|| tools.display().to_string())?;
    // Installed beside and renamed, so that what is there is whole.
    let fresh = tools.join(format!("componentize-{}", std::process::id()));
    let result = pip_install(&tools, &[requirement], &fresh);
    if result.is_ok() && !folder.is_dir() {
        // Fails if another process was first, whose copy is as good.
        let _ = fs::rename(&fresh, &folder);
    }
    let _ = fs::remove_dir_all(&fresh);
    result.with_context(|| {
        format!(
            "{requirement} can't be installed: plugins in Python can't be built\n\
             hint: this needs python3 with pip or venv, and PyPI once; {} is used from then on",
            folder.display()
        )
    })?;
    Ok(folder)
}

fn build(
    folder: &Path,
    inputs: &Inputs,
    tool: &Path,
    out: &Path,
    component: &Path,
    output: Output,
) -> Result<()> {
    // Copies, since the interpreter that boots writes its byte code beside the modules.
    let modules = fresh_folder(&out.join("modules"))?;
    for (name, bytes) in &inputs.0 {
        if name.ends_with(".py") {
            let path = modules.join(name);
            let parent = path.parent().expect("it lies in a folder");
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        }
    }
    let bindings = out.join("bindings");
    if bindings.is_dir() {
        fs::remove_dir_all(&bindings).with_context(|| bindings.display().to_string())?;
    }
    let fixed_random = fixed_random(out);
    let command = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command
            .arg("-c")
            .arg("import sys; from componentize_py import script; sys.exit(script())")
            .args(["--quiet", "-d"])
            .arg(root().join("wit/0.1.0"))
            .arg("-d")
            .arg(folder.join("plugin.wit"))
            .args(["-w", WORLD])
            .args(arguments)
            .current_dir(out)
            .env("PYTHONPATH", tool)
            .env("PYTHONHASHSEED", "0")
            // Without one, the packages of this machine's Python would join the component's path.
            .env("VIRTUAL_ENV", no_packages(out)?);
        if let Some(library) = &fixed_random {
            command.env("LD_PRELOAD", library);
        }
        Ok::<_, anyhow::Error>(command)
    };
    let fresh = out.join("fresh.wasm");
    for arguments in [
        &["bindings", "bindings"][..],
        &[
            "componentize",
            MODULE,
            "-p",
            "modules",
            "-p",
            "bindings",
            "-o",
            "fresh.wasm",
        ],
    ] {
        let mut command = command(arguments)?;
        match output {
            Output::Shown => run(&mut command)?,
            Output::OnFailure => quietly(&mut command)?,
        }
    }
    fs::rename(&fresh, component).with_context(|| component.display().to_string())
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| shown(command))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

fn fresh_folder(path: &Path) -> Result<PathBuf> {
    if path.is_dir() {
        fs::remove_dir_all(path).with_context(|| path.display().to_string())?;
    }
    fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    Ok(path.to_owned())
}

/// A virtual environment without packages.
fn no_packages(out: &Path) -> Result<PathBuf> {
    let folder = out.join("no-packages");
    let inside = folder.join("lib/site-packages");
    fs::create_dir_all(&inside).with_context(|| inside.display().to_string())?;
    Ok(folder)
}

/// Answers for the system's random numbers, always the same.
///
/// The interpreter boots with a random seed for its hashes, and componentize-py
/// has no option for it. It would differ from build to build, and with it the
/// order in which programs see the elements of a set.
const FIXED_RANDOM: &str = r#"
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    unsafe { std::ptr::write_bytes(buffer, 0x5a, length) };
    length as isize
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut u8, length: usize) -> i32 {
    unsafe { std::ptr::write_bytes(buffer, 0x5a, length) };
    0
}
"#;

/// [`FIXED_RANDOM`] as a library that is loaded before the system's. Only Linux
/// has a way for it; elsewhere, or without a linker, a build is as good, but
/// another one.
fn fixed_random(out: &Path) -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let source = out.join("fixed_random.rs");
    let library = out.join("libfixed_random.so");
    let mut command = Command::new("rustc");
    command
        .current_dir(root())
        .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
        .arg(&library)
        .arg(&source);
    let made = replace(&source, FIXED_RANDOM.as_bytes()).and_then(|()| quietly(&mut command));
    if let Err(error) = made {
        say(&format!(
            "hashes of this build have a seed of their own: {error:#}"
        ));
        return None;
    }
    Some(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(files: &[(&str, &str)]) -> Inputs {
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        Inputs(files.collect())
    }

    // Catches a component that is kept although something it is made of has changed.
    #[test]
    fn every_input_counts() {
        let hash = |files: &[(&str, &str)]| inputs(files).sha256();
        let plain = hash(&[("a.py", "x"), ("b.py", "y")]);
        assert_eq!(plain, hash(&[("a.py", "x"), ("b.py", "y")]));
        assert_ne!(plain, hash(&[("a.py", "x"), ("b.py", "z")]));
        assert_ne!(plain, hash(&[("a.py", "x"), ("c.py", "y")]));
        assert_ne!(plain, hash(&[("a.py", "xb.py"), ("", "y")]));
    }

    // Catches a tool that is whatever PyPI has today.
    #[test]
    fn the_tool_is_pinned() {
        let check = |text: &str, expected: Option<&str>| {
            let found = inputs(&[("requirements.txt", text)]).requirement().ok();
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("componentize-py==0.25.1\n", Some("componentize-py==0.25.1"));
        check("componentize-py\n", None);
        check("componentize-py==0.25.1\nnumpy==2\n", None);
        check("", None);
    }

    // Catches a plugin's README or cases that make it be built again, and modules that are overlooked.
    #[test]
    fn modules_and_wit_are_inputs() {
        let inputs = Inputs::read(&root().join("plugins/runner-python")).unwrap();
        let names: Vec<&str> = inputs.0.iter().map(|(name, _)| name.as_str()).collect();
        for name in [
            "rlhf_plugin.py",
            "rlhf_runner/judge.py",
            "plugin.wit",
            "requirements.txt",
            "wit/code-runner.wit",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.starts_with("golden")));
        assert!(!names.contains(&"README.md"));
    }
}
