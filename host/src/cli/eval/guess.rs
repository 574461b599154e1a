//! Which columns of a file are meant, where their names are not those that adapters know.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

/// Bytes of a file that are looked at.
const HEAD_BYTES: u64 = 1 << 20;

/// Fields, the names under which the shipped adapters find them, and those that others use:
/// Hugging Face's `evaluate` and `datasets`, TRL's rewards, code benchmarks. The first one that is
/// there counts.
const FIELDS: [(&str, &[&str], &[&str]); 2] = [
    (
        "response",
        &["response", "prediction", "completion", "generation"],
        &[
            "predictions",
            "completions",
            "responses",
            "generations",
            "generated",
            "generated_text",
            "output",
            "outputs",
            "hypothesis",
            "candidate",
            "model_output",
            "pred",
        ],
    ),
    (
        "references",
        &[
            "reference",
            "references",
            "canonical_solution",
            "code",
            "test",
            "tests",
            "test_list",
            "input_output",
        ],
        &[
            "ground_truth",
            "label",
            "labels",
            "target",
            "targets",
            "gold",
            "solution",
            "solutions",
            "expected",
            "answer",
            "answers",
        ],
    ),
];

/// The columns given, and those that were guessed beside them, which stderr is told.
pub fn columns(path: &Path, given: &[(String, String)]) -> Vec<(String, String)> {
    let mut columns = given.to_vec();
    let names = names(path).unwrap_or_default();
    let mut said = Vec::new();
    for (field, known, others) in FIELDS {
        let is_given = given
            .iter()
            .any(|(name, _)| name.trim_end_matches('s') == field.trim_end_matches('s'));
        if is_given || known.iter().any(|name| names.contains(*name)) {
            continue;
        }
        if let Some(guess) = others.iter().find(|name| names.contains(**name)) {
            columns.push((field.to_owned(), (*guess).to_owned()));
            said.push(format!("{field} from `{guess}`"));
        }
    }
    if !said.is_empty() {
        eprintln!(
            "note: `{}`: {} (guessed; --column FIELD=COLUMN says otherwise)",
            path.display(),
            said.join(", ")
        );
    }
    columns
}

/// Names of a file's columns, as far as its beginning shows them.
fn names(path: &Path) -> Option<BTreeSet<String>> {
    // To open a pipe is to wait for whoever writes it.
    if !path.is_file() {
        return None;
    }
    let mut head = Vec::new();
    File::open(path)
        .ok()?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .ok()?;
    let text = String::from_utf8_lossy(&head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    match path.extension()?.to_str()?.to_lowercase().as_str() {
        "csv" | "tsv" => {
            let header = text.lines().next()?;
            let cells = header.split([',', ';', '\t']);
            Some(
                cells
                    .map(|cell| cell.trim().trim_matches('"').to_owned())
                    .collect(),
            )
        }
        "json" | "jsonl" | "ndjson" => {
            let objects = text.strip_prefix('[').unwrap_or(text);
            let mut values =
                serde_json::Deserializer::from_str(objects).into_iter::<Map<String, Value>>();
            Some(
                values
                    .next()?
                    .ok()?
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect(),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch a guess over what the user said or an adapter knows, and one that is never made.
    #[test]
    fn only_what_is_unknown_is_guessed() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |name: &str, text: &str, given: &[(&str, &str)], expected: &[(&str, &str)]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("writes");
            let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
                let pairs = pairs.iter();
                pairs.map(|(a, b)| ((*a).into(), (*b).into())).collect()
            };
            assert_eq!(columns(&path, &owned(given)), owned(expected), "{text}");
        };
        check(
            "a.csv",
            "\"output\",label\n1,2\n",
            &[],
            &[("response", "output"), ("references", "label")],
        );
        check("b.csv", "prediction,output,reference\n", &[], &[]);
        check(
            "c.csv",
            "output;label\n",
            &[("reference", "x")],
            &[("reference", "x"), ("response", "output")],
        );
        check(
            "d.jsonl",
            "{\"completion\": \"a\", \"ground_truth\": \"b\"}\n",
            &[],
            &[("references", "ground_truth")],
        );
        check(
            "e.json",
            " [ {\"predictions\": \"a\"}, {}]",
            &[],
            &[("response", "predictions")],
        );
        check("f.parquet", "PAR1", &[], &[]);
    }
}
