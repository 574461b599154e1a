//! Is a file that is damaged, or none of what it is taken for, refused by name, and never more than
//! that?
//!
//! `fuzz/` has what must hold for any bytes. Here golden files are changed in many ways, the same
//! ones each time; cargo-fuzz looks for the rest.

#[path = "../../fuzz/src/lib.rs"]
mod holds;

use std::path::{Path, PathBuf};

use rlhf::random::{Purpose, Stream};
use rlhf_test_support::{Workspace, component, guest, rlhf};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files of a folder with one of these endings, in the order of their names.
fn files(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(root(folder)).expect("the golden files lie there");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            ending.is_some_and(|ending| endings.contains(&ending))
        })
        .collect();
    paths.sort();
    let read = |path: &PathBuf| std::fs::read(path).expect("it can be read");
    let files: Vec<Vec<u8>> = paths.iter().map(read).collect();
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

/// Bytes that mean something in one of the formats.
const MEANINGFUL: [&[u8]; 18] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\n",
    b"\0",
    b"\xff",
    b"=",
    b"nan",
    b"-inf",
    b"1e999",
    b"null",
    b"\"\"",
    b"\xff\xff\xff\x7f",
    b"PAR1",
    b"\\u",
];

/// A copy with some changes: cut, bytes turned over, taken out, put in, written twice.
fn changed(whole: &[u8], rng: &mut Stream) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=rng.below(3) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = rng.below(bytes.len());
        match rng.below(7) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.below(256) as u8,
            2 => bytes[at] ^= 1 << rng.below(8),
            3 => drop(bytes.remove(at)),
            4 => {
                let end = (at + 1 + rng.below(40)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            5 => {
                let some = MEANINGFUL[rng.below(MEANINGFUL.len())];
                bytes.splice(at..at, some.iter().copied());
            }
            _ => {
                let end = (at + 1 + rng.below(40)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// Hands `rounds` changed files, and as many of random bytes, to `check`.
fn check(files: &[Vec<u8>], rounds: usize, check: impl Fn(&[u8])) {
    let mut rng = Stream::new(8, Purpose::Split, 0, 0);
    files.iter().for_each(|file| check(file));
    for round in 0..rounds {
        check(&changed(&files[round % files.len()], &mut rng));
        let random: Vec<u8> = (0..rng.below(64)).map(|_| rng.below(256) as u8).collect();
        check(&random);
    }
}

// Would catch a value that one layer reads and the next can't, and a parser that panics.
#[test]
fn configurations() {
    let files: Vec<Vec<u8>> = [
        "tests/config/valid/all-sections.toml",
        "tests/config/valid/seed-readme.json",
    ]
    .map(read)
    .into();
    check(&files, 3000, holds::config);
    for value in [
        "nan",
        "inf",
        "-inf",
        "1979-05-27",
        "1e400",
        "99999999999999999999",
    ] {
        let text = format!("[training]\nlearning_rate = {value}\nsave_steps = {value}\n");
        holds::config(text.as_bytes());
        holds::config(format!("seed = {value}").as_bytes());
        holds::config(format!("[data]\ncolumns = {{ prompt = {value} }}").as_bytes());
        holds::config(format!("[[plugins]]\npath = 'x'\nconfig = {{ a = {value} }}").as_bytes());
    }
}

// Would catch a size that is believed, a panic, and a file that is not named.
#[test]
fn weights() {
    check(
        &files("tests/golden/weights", &["bin"]),
        600,
        holds::weights,
    );
    check(&files("tests/golden/gguf", &["gguf"]), 200, holds::weights);
    let safetensors = read("tests/golden/models/tiny-llama/model.safetensors");
    // Its header, and the beginning of its tensors: elsewhere a change is another number.
    check(&[safetensors[..6000].to_vec()], 200, holds::weights);
}

// Would catch a tokenizer that panics, and one that is not named.
#[test]
fn tokenizers() {
    let files = ["tokenizer.json", "tokenizer_config.json", "config.json"];
    let files = files.map(|name| read(&format!("tests/golden/models/tiny-llama/{name}")));
    check(&files, 60, holds::tokenizer);
}

// Would catch a row that panics.
#[test]
fn data_files() {
    for (adapter, endings) in [
        ("csv", &["csv"][..]),
        ("json", &["json", "jsonl"]),
        ("parquet", &["parquet"]),
    ] {
        let files = files(&format!("plugins/adapter-{adapter}/golden"), endings);
        check(&files, 1500, holds::rows);
    }
}

// Would catch a component that panics the host before it is known to be none.
#[test]
fn plugins() {
    let small = guest("tests/support/tests/guests/nothing");
    let small = std::fs::read(small).expect("it was built");
    check(&[small], 1500, holds::plugin);
    // Of a real one, whose every function would be compiled, only what is refused early.
    let real = std::fs::read(component("metric-exact-match")).expect("it was built");
    let mut rng = Stream::new(9, Purpose::Split, 0, 0);
    for _ in 0..12 {
        let mut cut = real.clone();
        cut.truncate(rng.below(real.len()));
        holds::plugin(&cut);
    }
}

// Would catch a damaged data file whose name, or whose row, the user is not told.
#[test]
fn a_damaged_data_file_is_named() {
    let packages = [
        "adapter-csv",
        "adapter-json",
        "adapter-parquet",
        "metric-bleu",
        "metric-codebleu",
    ];
    let plugins = packages.map(component);
    let plugins = plugins[0].ancestors().nth(2).expect("plugins/adapters/…");
    let workspace = Workspace::new();
    let mut rng = Stream::new(10, Purpose::Split, 0, 0);
    let mut refused = 0;
    for (name, adapter) in [
        ("rows.csv", "csv"),
        ("rows.json", "json"),
        ("rows.jsonl", "json"),
        ("rows.parquet", "parquet"),
    ] {
        let ending = name.rsplit('.').next().expect("an ending");
        let files = files(&format!("plugins/adapter-{adapter}/golden"), &[ending]);
        for round in 0..4 {
            let bytes = match round {
                0 => (0..40).map(|_| rng.below(256) as u8).collect(),
                _ => changed(&files[rng.below(files.len())], &mut rng),
            };
            workspace.write(name, &bytes);
            let run = rlhf!(&workspace)
                .env("RLHF_PLUGIN_PATH", plugins)
                .args(["--mode", "fast", "--dry-run", "--train-data-path", name])
                .run();
            assert!(matches!(run.code, Some(0 | 2)), "{run}");
            if run.code == Some(2) {
                refused += 1;
                assert!(
                    run.stderr.contains(name) || run.stderr.contains("the data "),
                    "{run}"
                );
            }
        }
    }
    assert!(refused >= 4, "{refused} of 16 files were refused");
}
