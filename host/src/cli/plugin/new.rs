//! `rlhf plugin new`: a project that builds and passes its tests at once.
//!
//! Templates are the folders `sdk/templates/LANGUAGE/KIND`, which the binary
//! carries. In their names and texts `{{name}}` stands for `my-metric`,
//! `{{snake_name}}` for `my_metric` and `{{version}}` for the contract's
//! version; `.template` at the end of a name hides manifests from cargo and is
//! taken off. The SDK is nowhere published, so a Rust project gets its sources
//! with the contract, and the others get the contract.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::Usage;
use crate::plugin::Kind;

/// `SDK`, `WIT` and `TEMPLATES`, lists of path and text, and `LOCK`.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// The version of the contract that the SDK and the templates are for.
const WIT_VERSION: &str = "0.1.0";

/// A component's name has to fit into tables; the host refuses longer ones.
const NAME_LENGTH_MAX: usize = 64;

/// What Rust or cargo refuses as a crate's name or confuses with another
/// crate: keywords, what every program links, the project's dependencies.
#[rustfmt::skip]
const RUST_RESERVED: &[&str] = &[
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue",
    "core", "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen",
    "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv",
    "proc-macro", "pub", "ref", "return", "rlhf-sdk", "self", "serde", "static", "std", "struct",
    "super", "test", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    #[default]
    Rust,
    Python,
    Javascript,
}

impl Language {
    /// Its folder among the templates.
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Javascript => "javascript",
        }
    }
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the project and of its plugin, in kebab-case
    name: String,
    /// What the plugin does
    #[arg(long, value_parser = kinds())]
    kind: Kind,
    /// What it is written in
    #[arg(long, value_enum, default_value_t)]
    language: Language,
    /// Folder to write, new or empty [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::interface)).map(|name| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.interface() == name);
        kind.expect("the parser knows these names only")
    })
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments {
        name,
        kind,
        language,
        path,
    } = arguments;
    check_name(name, *language)?;
    let files = project(name, *kind, *language)?;
    let folder = path.as_deref().unwrap_or(Path::new(name));
    write(folder, &files)?;
    let text = report(name, *kind, *language, folder, &files);
    std::io::stderr().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn usage(message: String) -> anyhow::Error {
    Usage(message).into()
}

fn is_kebab_case(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(word)
}

fn check_name(name: &str, language: Language) -> Result<()> {
    let shown = name.escape_debug();
    if !is_kebab_case(name) {
        let guess = kebab_case(name);
        let hint = if is_kebab_case(&guess) {
            format!("did you mean `{guess}`?")
        } else {
            "for instance `my-metric`".to_owned()
        };
        return Err(usage(format!(
            "name `{shown}`: expected lower-case letters, digits and single hyphens between them, \
             a letter first\nhint: {hint}"
        )));
    }
    if name.len() > NAME_LENGTH_MAX {
        let found = name.len();
        return Err(usage(format!(
            "name `{shown}`: expected at most {NAME_LENGTH_MAX} characters, found {found}"
        )));
    }
    if language == Language::Rust && RUST_RESERVED.contains(&name) {
        return Err(usage(format!(
            "name `{name}`: expected one that a crate can have, found one that Rust uses itself\n\
             hint: for instance `my-{name}`"
        )));
    }
    Ok(())
}

/// What somebody who wrote `MyMetric`, `my_metric` or `My metric` means.
fn kebab_case(name: &str) -> String {
    let mut text = String::new();
    let mut previous = ' ';
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            text.push('-');
        }
        text.push(match c {
            '_' | ' ' | '.' => '-',
            other => other.to_ascii_lowercase(),
        });
        previous = c;
    }
    text
}

/// A file's path below the project, with `/`, and its text.
type File = (String, String);

/// The files of a project, sorted.
fn project(name: &str, kind: Kind, language: Language) -> Result<Vec<File>> {
    let folder = format!("{}/{}/", language.folder(), kind.interface());
    let snake_name = name.replace('-', "_");
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{snake_name}}", &snake_name)
            .replace("{{version}}", WIT_VERSION)
    };
    let mut files: Vec<File> = embedded::TEMPLATES
        .iter()
        .filter_map(|(path, text)| {
            let path = path.strip_prefix(&folder)?;
            let path = path.strip_suffix(".template").unwrap_or(path);
            Some((fill(path), fill(text)))
        })
        .collect();
    if files.is_empty() {
        return Err(no_template(kind, language));
    }
    let below = |prefix: &str, (path, text): (&str, &str)| (format!("{prefix}{path}"), text.into());
    let contract = format!("{WIT_VERSION}/");
    let contract = embedded::WIT.iter().filter_map(|&(path, text)| {
        let path = path.strip_prefix(&contract)?;
        Some((path, text))
    });
    match language {
        Language::Rust => {
            // As in the repository, so that the SDK finds the contract where it always does.
            let prefix = format!("vendor/rlhf-sdk/wit/{WIT_VERSION}/");
            files.extend(contract.map(|file| below(&prefix, file)));
            files.extend(
                embedded::SDK
                    .iter()
                    .map(|&file| below("vendor/rlhf-sdk/", file)),
            );
            // The versions that this SDK was tested with, whatever comes out later.
            files.push(("Cargo.lock".into(), embedded::LOCK.into()));
        }
        Language::Python | Language::Javascript => {
            files.extend(contract.map(|file| below("wit/", file)));
        }
    }
    files.sort();
    Ok(files)
}

/// Says which templates there are.
fn no_template(kind: Kind, language: Language) -> anyhow::Error {
    let mut found: Vec<&str> = embedded::TEMPLATES
        .iter()
        .filter_map(|(path, _)| path.strip_prefix(language.folder())?.strip_prefix('/'))
        .filter_map(|path| path.split('/').next())
        .collect();
    found.dedup();
    let found = match found.as_slice() {
        [] => "none".to_owned(),
        found => format!("`{}`", found.join("`, `")),
    };
    usage(format!(
        "no template for kind `{}` in language `{}`: expected one of {found}\n\
         hint: --language rust has every kind",
        kind.interface(),
        language.folder(),
    ))
}

/// A folder that is gone again unless it was renamed.
struct Stage(PathBuf);

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes all files or none: aside first, then renamed to where they belong.
fn write(folder: &Path, files: &[File]) -> Result<()> {
    let exists = check_folder(folder)?;
    // Inside of a folder that exists: it may be a mount, across which nothing can be renamed.
    let aside = format!(".rlhf-plugin-new-{}", std::process::id());
    let stage = Stage(match exists {
        true => folder.join(aside),
        false => folder.with_file_name(aside),
    });
    for (path, text) in files {
        let path = stage.0.join(path);
        let show = || format!("cannot write {}", path.display());
        let parent = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(parent).with_context(show)?;
        fs::write(&path, text).with_context(show)?;
        if text.starts_with("#!") {
            make_executable(&path).with_context(show)?;
        }
    }
    let show = || format!("cannot write {}", folder.display());
    if !exists {
        return fs::rename(&stage.0, folder).with_context(show);
    }
    for entry in fs::read_dir(&stage.0).with_context(show)? {
        let entry = entry.with_context(show)?;
        fs::rename(entry.path(), folder.join(entry.file_name())).with_context(show)?;
    }
    Ok(())
}

/// Whether the folder exists, and is empty then.
fn check_folder(folder: &Path) -> Result<bool> {
    let shown = folder.display();
    let refuse = |found: String| {
        Err(usage(format!(
            "folder `{shown}`: expected a new or an empty one, found {found}\n\
             hint: choose another with --path"
        )))
    };
    if !folder.exists() {
        let parent = match folder.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => return Ok(false),
        };
        if !parent.is_dir() {
            return Err(usage(format!(
                "folder `{shown}`: expected the folder `{}` to be there, found none\n\
                 hint: make it first",
                parent.display()
            )));
        }
        return Ok(false);
    }
    if !folder.is_dir() {
        return refuse("a file".to_owned());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {shown}"))?;
    match entries.flatten().map(|entry| entry.file_name()).min() {
        Some(first) => refuse(format!("`{}` in it", first.to_string_lossy())),
        None => Ok(true),
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// What was written, and what to type next.
fn report(name: &str, kind: Kind, language: Language, folder: &Path, files: &[File]) -> String {
    let mut text = format!(
        "wrote the {} `{name}` to {}\n",
        kind.interface(),
        folder.display()
    );
    let brought = |path: &str| path.starts_with("vendor/") || path.starts_with("wit/");
    for (path, _) in files.iter().filter(|(path, _)| !brought(path)) {
        text.push_str(&format!("  {path}\n"));
    }
    let what = match language {
        Language::Rust => "vendor/: the SDK and the contract",
        Language::Python | Language::Javascript => "wit/: the contract",
    };
    let count = files.iter().filter(|(path, _)| brought(path)).count();
    text.push_str(&format!("  {what}, {count} files\nnext:\n"));
    for command in next(name, kind, language, folder) {
        text.push_str(&format!("  {command}\n"));
    }
    text
}

/// Commands to test, build, look and use.
fn next(name: &str, kind: Kind, language: Language, folder: &Path) -> Vec<String> {
    let mut commands = Vec::new();
    if folder != Path::new(".") {
        commands.push(format!("cd {}", quoted(&folder.to_string_lossy())));
    }
    let (own, component): (&[&str], _) = match language {
        Language::Rust => (
            &[
                "cargo test",
                "rustup target add wasm32-wasip2",
                "cargo build --release --target wasm32-wasip2",
            ],
            format!(
                "target/wasm32-wasip2/release/{}.wasm",
                name.replace('-', "_")
            ),
        ),
        Language::Python => (
            &["python3 -m unittest", "sh build.sh"],
            format!("{name}.wasm"),
        ),
        Language::Javascript => (
            &["npm install", "npm test", "npm run build"],
            format!("{name}.wasm"),
        ),
    };
    commands.extend(own.iter().map(|command| command.to_string()));
    commands.push(format!("rlhf plugin inspect {component}"));
    commands.push(format!("rlhf plugin test {component}"));
    commands.push(match kind {
        Kind::Metric => {
            format!("rlhf eval --metric {component} --prediction 'return a' --reference 'return b'")
        }
        Kind::DataAdapter => {
            format!("rlhf --mode fast --plugin {component} --train-data-path FILE.tsv --dry-run")
        }
        Kind::RewardShaper | Kind::CodeRunner => format!("rlhf --plugin {component}"),
    });
    commands
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches names that cargo, WIT or the host refuses later, and hints that don't help.
    #[test]
    fn names() {
        let check = |name: &str, expected: &str| {
            let found = check_name(name, Language::Rust);
            let found = found.err().map(|error| error.to_string());
            let found = found.as_deref().unwrap_or_default();
            assert!(found.ends_with(expected), "{name}: {found}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{name}: {found}");
        };
        for good in ["a", "my-metric", "bleu4", "a-1b"] {
            check(good, "");
        }
        check("MyMetric", "hint: did you mean `my-metric`?");
        check("my_metric", "hint: did you mean `my-metric`?");
        check("BLEU", "hint: did you mean `bleu`?");
        for bad in ["", "-a", "a-", "a--b", "4bleu", "a/b", "..", "maß"] {
            check(bad, "hint: for instance `my-metric`");
        }
        check("serde", "hint: for instance `my-serde`");
        check(&"a".repeat(65), "expected at most 64 characters, found 65");
        assert!(check_name("serde", Language::Python).is_ok());
    }

    // Catches a misspelt placeholder, which would end up in somebody's project.
    #[test]
    fn placeholders_are_known() {
        for (path, text) in embedded::TEMPLATES {
            for (at, _) in text.match_indices("{{") {
                let word: String = text[at + 2..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let is_one = text[at + 2 + word.len()..].starts_with("}}");
                let known = ["name", "snake_name", "version"];
                assert!(!is_one || known.contains(&&*word), "{path}: {{{{{word}}}}}");
            }
        }
    }

    // Catches templates that the binary doesn't carry, and SDK files that don't find each other.
    #[test]
    fn projects_are_whole() {
        for kind in Kind::ALL {
            let files = project("my-plugin", kind, Language::Rust).unwrap();
            let text = |path: &str| {
                let file = files.iter().find(|(name, _)| name == path);
                &file.unwrap_or_else(|| panic!("{kind:?}: no {path}")).1
            };
            assert!(text("Cargo.toml").contains("name = \"my-plugin\""));
            assert!(!text("vendor/rlhf-sdk/Cargo.toml").contains("workspace"));
            assert!(text("vendor/rlhf-sdk/src/bindings.rs").contains("\"wit/0.1.0\""));
            for path in [
                "src/lib.rs",
                "README.md",
                ".gitignore",
                "vendor/rlhf-sdk/wit/0.1.0/types.wit",
            ] {
                text(path);
            }
        }
    }

    // Catches commands that a shell would take apart.
    #[test]
    fn arguments_are_quoted() {
        assert_eq!(quoted("a/my-metric"), "a/my-metric");
        assert_eq!(quoted("my metric"), "'my metric'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
