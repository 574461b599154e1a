//! Do configuration files load, and do wrong ones fail with exactly the text beside them?
//!
//! `valid/*.{toml,json}` load over the fast preset; `invalid/NAME.{toml,json}`
//! fail with the text of `invalid/NAME.err`, in which the file is called by its name.

use std::path::{Path, PathBuf};

use rlhf::config::{Config, Mode, Origin, file};

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
    let config = file::overlay(&Mode::Fast.config(Origin::Builtin, None), path)
        .map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
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
