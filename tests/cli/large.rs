//! Are files read that are larger than memory should be?

use std::io::{BufWriter, Write};

use rlhf_test_support::Workspace;

use super::call;

/// Would catch an adapter, or a host, that holds a file instead of reading it.
#[test]
#[ignore = "writes files of 2 GB"]
fn two_gigabytes_in_bounded_memory() {
    const BYTES: u64 = 2 << 30;
    // Little against the file, and enough for the program itself and one batch of rows.
    const HOST_BYTES_MAX: u64 = 300 << 20;
    const GUEST_BYTES_MAX: u64 = 32 << 20;
    let workspace = Workspace::new();
    let answer = "x = compute(1)\\n".repeat(130);
    for (file, header, row) in [
        (
            "rows.csv",
            "prompt,response\n",
            format!("what is it,\"{answer}\"\n"),
        ),
        (
            "rows.jsonl",
            "",
            format!("{{\"prompt\": \"what is it\", \"response\": \"{answer}\"}}\n"),
        ),
    ] {
        let path = workspace.write(file, header);
        let out = std::fs::OpenOptions::new().append(true).open(&path);
        let mut out = BufWriter::new(out.expect("it was just written"));
        let rows = BYTES / row.len() as u64 + 1;
        for _ in 0..rows {
            out.write_all(row.as_bytes()).expect("the disk has room");
        }
        out.flush().expect("the disk has room");
        let adapter = file.split('.').nth(1).map(|extension| match extension {
            "jsonl" => "json",
            other => other,
        });
        let arguments = [
            "plugin",
            "bench",
            adapter.expect("it has one"),
            "--data",
            file,
            "--json",
        ];
        let run = call(&workspace, &arguments).expect_code(0);
        println!("{file}: {}", run.stdout);
        let facts: serde_json::Value = serde_json::from_str(&run.stdout).expect("it is JSON");
        assert_eq!(facts["rows"], rows, "{facts}");
        let number = |key: &str| facts[key].as_u64().unwrap_or(u64::MAX);
        assert!(number("memory bytes") < GUEST_BYTES_MAX, "{facts}");
        assert!(number("host peak bytes") < HOST_BYTES_MAX, "{facts}");
        std::fs::remove_file(path).expect("it is ours");
    }
}
