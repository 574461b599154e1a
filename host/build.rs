//! Puts into the binary what it brings along: the list of first-party grants,
//! what `rlhf plugin new` writes, since the SDK is nowhere published, and what
//! `rlhf --version` says of the build.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What tools leave behind in a template's folder.
const LEFTOVERS: [&str; 5] = [".venv", "__pycache__", "build", "node_modules", "target"];

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let first_party = first_party();
    write(&out.join("first-party.txt"), &first_party);
    write(&out.join("embedded.rs"), &embedded(&out));
    build_facts(first_party.lines().count());
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        cuda_kernels(&out.join("kernels.ptx"));
    }
}

/// Compiles our kernels for CUDA to PTX, by the nvcc that compiles candle's and for the same cards.
fn cuda_kernels(ptx: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/cuda/kernels.cu");
    println!("cargo::rerun-if-changed={}", source.display());
    for variable in ["NVCC", "CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let home = || std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc"));
    let nvcc = std::env::var_os("NVCC").map(PathBuf::from).or_else(home);
    let nvcc = nvcc.unwrap_or_else(|| PathBuf::from("nvcc"));
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".to_owned());
    let status = std::process::Command::new(&nvcc)
        .args(["--ptx", "-O3", "-std=c++17"])
        .arg(format!("--gpu-architecture=compute_{capability}"))
        .arg("-o")
        .args([ptx, &source])
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{}: {status}", nvcc.display()),
        Err(error) => panic!(
            "{}: {error}: the feature `cuda` needs NVIDIA's toolkit",
            nvcc.display()
        ),
    }
}

/// Variables for `cli/version.rs`. The commit is only known where `RLHF_COMMIT` says it, as
/// `cargo xtask dist` does: asking git would build the host anew after each commit.
fn build_facts(first_party: usize) {
    println!("cargo::rerun-if-env-changed=RLHF_COMMIT");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "unknown".to_owned());
    let optional = ["cuda", "metal"];
    let on = optional.into_iter().filter(|feature| {
        let variable = format!("CARGO_FEATURE_{}", feature.to_uppercase());
        std::env::var_os(variable).is_some()
    });
    let features = match on.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "none: it computes on the CPU".to_owned(),
        some => some,
    };
    let lock = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"));
    let version = |package: &str| {
        let mut packages = lock.split("[[package]]\n");
        let start = format!("name = \"{package}\"\n");
        let found = packages.find_map(|block| block.strip_prefix(&start));
        let line = found.and_then(|block| block.lines().next());
        let version = line.and_then(|line| line.split('"').nth(1));
        version.unwrap_or("unknown").to_owned()
    };
    let facts = [
        ("COMMIT", variable("RLHF_COMMIT")),
        ("TARGET", variable("TARGET")),
        ("PROFILE", variable("PROFILE")),
        ("FEATURES", features),
        ("WASMTIME", version("wasmtime")),
        ("CANDLE", version("candle-core")),
        ("FIRST_PARTY", first_party.to_string()),
    ];
    for (name, value) in facts {
        println!("cargo::rustc-env=RLHF_BUILD_{name}={value}");
    }
}

/// `RLHF_FIRST_PARTY` names a file of lines `SHA256 GRANT[,GRANT…]`, which
/// `cargo xtask` writes from the components it has built. Without it no
/// component has a grant that the user didn't give.
fn first_party() -> String {
    println!("cargo::rerun-if-env-changed=RLHF_FIRST_PARTY");
    match std::env::var_os("RLHF_FIRST_PARTY") {
        Some(path) => read(Path::new(&path)),
        None => String::new(),
    }
}

/// Rust source with lists of path and text: `SDK`, `WIT`, `TEMPLATES`; and
/// `LOCK`, the versions of what the SDK needs.
fn embedded(out: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = fs::canonicalize(root).expect("the host lies in the workspace");
    let workspace = read(&root.join("Cargo.toml"));
    let manifest = out.join("sdk-manifest.toml");
    write(
        &manifest,
        &standalone(&read(&root.join("sdk/Cargo.toml")), &workspace),
    );
    let lock = out.join("sdk-lock.toml");
    write(&lock, &needed(&read(&root.join("Cargo.lock")), "rlhf-sdk"));

    let mut sdk = files(&root.join("sdk/src"), "src/");
    sdk.push(("Cargo.toml".into(), manifest));
    sdk.push(("README.md".into(), root.join("sdk/README.md")));
    sdk.push(("LICENSE".into(), root.join("LICENSE")));
    let wit = files(&root.join("wit/0.1.0"), "0.1.0/");
    let templates = files(&root.join("sdk/templates"), "");

    let mut source = String::new();
    for (name, files) in [("SDK", sdk), ("WIT", wit), ("TEMPLATES", templates)] {
        let _ = writeln!(source, "pub static {name}: &[(&str, &str)] = &[");
        for (name, path) in files {
            // What was written just now is newer than this run, and would call for the next one.
            if !path.starts_with(out) {
                println!("cargo::rerun-if-changed={}", path.display());
            }
            let _ = writeln!(source, "    ({name:?}, include_str!({path:?})),");
        }
        source.push_str("];\n");
    }
    let _ = writeln!(source, "pub static LOCK: &str = include_str!({lock:?});");
    source
}

/// Every file below a folder with its path behind `prefix`, sorted.
fn files(folder: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    // For files that come or go; the others are watched one by one.
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(folder).and_then(Iterator::collect);
    let entries: Vec<fs::DirEntry> =
        entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for path in entries.iter().map(fs::DirEntry::path) {
        let name = path.file_name().expect("an entry has a name");
        let name = name.to_str().expect("names are UTF-8");
        if path.is_file() {
            found.push((format!("{prefix}{name}"), path));
        } else if !LEFTOVERS.contains(&name) {
            found.extend(files(&path, &format!("{prefix}{name}/")));
        }
    }
    found.sort();
    found
}

/// A manifest with what it inherits from the workspace written out. Lints are
/// left out: they are this repository's house rules.
fn standalone(manifest: &str, workspace: &str) -> String {
    let mut section = String::new();
    let mut text = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        }
        if section == "lints" {
            continue;
        }
        match line.strip_suffix(".workspace = true") {
            Some(key) if section == "package" => {
                let _ = writeln!(text, "{}", inherited(workspace, "workspace.package", key));
            }
            Some(key) => {
                let line = inherited(workspace, "workspace.dependencies", key);
                let _ = writeln!(text, "{line}");
            }
            None => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    format!("{}\n", text.trim_end())
}

/// The line of the workspace's manifest that sets `key`.
fn inherited<'a>(workspace: &'a str, section: &str, key: &str) -> &'a str {
    let header = format!("[{section}]");
    workspace
        .lines()
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .find(|line| line.split_once(" = ").is_some_and(|(name, _)| name == key))
        .filter(|line| line.ends_with(['"', '}']))
        .unwrap_or_else(|| panic!("Cargo.toml: expected `{key} = …` on one line in {header}"))
}

/// A lock file with nothing but `package` and what it needs.
fn needed(lock: &str, package: &str) -> String {
    let mut blocks = lock.split("[[package]]\n");
    let mut text = blocks.next().unwrap_or_default().to_owned();
    let blocks: Vec<&str> = blocks.collect();
    let value = |block: &str, key: &str| {
        let start = format!("{key} = \"");
        let line = block.lines().find_map(|line| line.strip_prefix(&start));
        line.map(|line| line.trim_end_matches('"').to_owned())
    };
    // A dependency is named alone if there is one version of it, else as `name version`.
    let mut by_name: HashMap<String, usize> = HashMap::new();
    for (index, block) in blocks.iter().enumerate() {
        let name = value(block, "name").expect("a locked package has a name");
        let version = value(block, "version").expect("a locked package has a version");
        by_name.insert(format!("{name} {version}"), index);
        by_name.insert(name, index);
    }
    let mut wanted = vec![package.to_owned()];
    let mut found = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let index = *by_name
            .get(&name)
            .unwrap_or_else(|| panic!("Cargo.lock: expected `{name}`, found none"));
        if found.insert(index) {
            let dependencies = blocks[index].lines().filter_map(|line| {
                let name = line.strip_prefix(" \"")?;
                Some(name.trim_end_matches("\",").to_owned())
            });
            wanted.extend(dependencies);
        }
    }
    for index in found {
        let _ = write!(text, "[[package]]\n{}\n\n", blocks[index].trim_end());
    }
    text
}

fn read(path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
