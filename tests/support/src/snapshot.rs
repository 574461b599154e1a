//! Expected text in files.

use std::fs;
use std::path::Path;

use xtask::workspace::root;

/// Set to anything, it writes what was found into the files, to be read
/// before they are committed.
pub const BLESS: &str = "RLHF_BLESS";

/// Compares a text with a file, whose path is relative to the workspace's root.
///
/// # Panics
/// They differ, or there is no file.
#[track_caller]
pub fn expect_file(path: impl AsRef<Path>, found: &str) {
    let path = root().join(path);
    let found = format!("{}\n", found.trim_end());
    let expected = fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    if found == expected {
        return;
    }
    if std::env::var_os(BLESS).is_some() {
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, &found))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    panic!(
        "{} differs (- expected, + found); {BLESS}=1 rewrites it\n{}",
        path.display(),
        difference(&expected, &found)
    );
}

/// Lines of both texts, those only in one marked; by the longest common
/// subsequence, since texts are short.
fn difference(expected: &str, found: &str) -> String {
    let a: Vec<&str> = expected.lines().collect();
    let b: Vec<&str> = found.lines().collect();
    let mut common = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    while i < a.len() || j < b.len() {
        let (mark, line) = if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
            (' ', a[i - 1])
        } else if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', a[i - 1])
        } else {
            j += 1;
            ('+', b[j - 1])
        };
        text.push_str(&format!("{mark} {line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches a difference that shows everything or the wrong side.
    #[test]
    fn differences_are_marked_by_line() {
        assert_eq!(
            difference("a\nb\nc\n", "a\nx\nc\nd\n"),
            "  a\n- b\n+ x\n  c\n+ d\n"
        );
        assert_eq!(difference("", "a\n"), "+ a\n");
    }
}
