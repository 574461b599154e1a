//! The page about a run: is everything on it, does nothing get out of its place, does a browser
//! show it without an error?

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rlhf_test_support::Workspace;
use serde_json::json;

use crate::call;

/// Text that would end a script, an attribute or an element, or run, if it were not escaped.
const HOSTILE: [&str; 5] = [
    "</script><script>document.title = 'taken'</script>",
    "\"><img src=x onerror=\"document.title = 'taken'\">",
    "'; document.title = 'taken'; //\u{2028}\u{2029}\u{202e}",
    "</code></pre></article><h1>taken</h1><!--",
    "{{constructor.constructor('document.title = 1')()}}\u{0}\u{1b}[31m",
];

/// A run's folder, as small as one can be that has everything; all that models, plugins and data
/// say is hostile.
fn folder(workspace: &Workspace, name: &str, better: f64) {
    let write = |file: &str, text: String| workspace.write(format!("{name}/{file}"), text);
    let metric = |value: f64| {
        json!({
            "name": "bleu", "signature": "bleu|mean|<b>", "headline": "mean", "value": value,
            "interval": [value - 0.05, value + 0.05], "corpus": value, "mean": value, "components": {},
            "higher_is_better": true, "samples": 5, "failures": {}, "first_failure": null,
        })
    };
    let stage =
        |name: &str, value: f64| json!({"stage": name, "tasks": 5, "metrics": [metric(value)]});
    let summary = json!({
        "model": HOSTILE[0], "method": "ppo", "seed": 1,
        "evaluations": [stage("before ppo", 0.2), stage("after ppo", 0.5 + better)],
        "preferences": null,
        "rollouts": {"steps": 60, "responses": 600, "bad_batches": 1, "final_reward": 0.5, "final_kl": 0.1},
        "targets": [
            {"metric": "bleu", "target": 0.4, "value": 0.5 + better, "interval": [0.45, 0.6], "met": true, "reason": null},
            {"metric": "ruby", "target": 0.3, "value": null, "interval": null, "met": null, "reason": HOSTILE[3]},
        ],
        "warnings": HOSTILE,
    });
    write("summary.json", summary.to_string());
    let manifest = json!({
        "rlhf": "0.1.0", "wasmtime": "48", "seed": 1,
        "command": ["target/release/rlhf", "--method", "ppo", "--model-name", HOSTILE[1]],
        "machine": {"os": "linux", "architecture": "x86_64", "cores": 2, "device": "cpu"},
        "plugins": [{"name": "bleu", "kind": "metric", "path": HOSTILE[1], "sha256": "ab".repeat(32),
            "wit": "0.1.0", "grants": ["sandbox"], "limits": {}, "signature": null}],
        "seconds": [["before ppo", 1.0], ["ppo", 30.0]],
    });
    write("manifest.json", manifest.to_string());
    let config = json!({"seed": 1, "preferences": {"metric": "bleu"}, "training": {"method": "ppo", "learning_rate": 1e-4 + better}});
    write("config.json", config.to_string());
    let judged = |stage: &str, step: u32, value: f64| {
        json!({"stage": stage, "step": step, "eval/bleu": value}).to_string() + "\n"
    };
    let mut metrics = judged("evaluate before ppo", 0, 0.2);
    for step in 1..=60 {
        let x = f64::from(step) / 60.0;
        let row = json!({
            "stage": "ppo", "step": step, "reward": x + better, "loss/policy_avg": 1.0 - x,
            "loss/value_avg": 0.5 - x, "kl": x * x, "entropy": 1.0 / (1.0 + x), "grad_norm": 1.0,
            "learning_rate": 1e-4, "completions/mean_length": 20.0 + x, "rewards/bleu": x,
            "rewards/total": x, "rewards/</text><b>": x, "epoch": f64::from(step) / 20.0,
        });
        let _ = writeln!(metrics, "{row}");
        if step % 20 == 0 && step < 60 {
            metrics.push_str(&judged("ppo", step, 0.2 + 0.2 * x));
        }
    }
    metrics.push_str(&judged("evaluate after ppo", 60, 0.5 + better));
    write("metrics.jsonl", metrics);
    let (mut completions, mut tasks) = (String::new(), String::new());
    for (at, text) in HOSTILE.iter().enumerate() {
        let id = format!("{text}{at}");
        let task = json!({"split": "evaluation", "id": id, "prompt": text, "references": [text], "tests": [], "language": "python"});
        let _ = writeln!(tasks, "{task}");
        for (stage, value) in [("before ppo", 0.1), ("after ppo", 0.2 * at as f64 + better)] {
            let row = json!({
                "stage": stage, "step": 0, "id": format!("{id}/0"), "task": id, "prompt": text,
                "response": format!("def f():\n    return {text:?}\n# {stage} {better}\n{text}"),
                "finish": "stop", "tokens": 7,
                "metrics": {"bleu": {"value": value, "components": {"</td>": 1.0}}, "b<i>": {"failed": "trap", "reason": text}},
                "plugins": {},
            });
            let _ = writeln!(completions, "{row}");
        }
        let row = json!({
            "stage": "ppo", "step": 60, "id": format!("{id}/1"), "task": id, "prompt": text, "response": text,
            "finish": "length", "tokens": 7, "metrics": {}, "reward": at, "plugins": {},
            "parts": {"bleu": {"value": at, "weight": 1.0, "parts": {}}, "length": {"abstained": text, "weight": 0.5}},
        });
        let _ = writeln!(completions, "{row}");
    }
    write("completions.jsonl", completions);
    write("tasks.jsonl", tasks);
    let cost = json!({"stage": "ppo", "step": 1, "plugin": "bleu", "samples": 10, "failures": {"<trap>": 2},
        "seconds": 0.5, "calls": 4, "call_seconds": 0.6, "fuel": 123_456_789u64, "memory_bytes": 1 << 20});
    write("costs.jsonl", format!("{cost}\n"));
}

/// Elements of a page by their names, in order, as any parser of HTML sees them: a text that is
/// not escaped would add some.
fn elements(page: &str) -> Vec<String> {
    let (head, rest) = page.split_once("<style>").expect("a style");
    let (_, rest) = rest.split_once("</style>").expect("its end");
    let (body, script) = rest.rsplit_once("<script>").expect("a script");
    let (_, after) = script.split_once("</script>").expect("its end");
    let names = [head, body, after].join("");
    names
        .split('<')
        .skip(1)
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '/' && c != '!');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

/// Would catch a section that is missing, text that is not escaped, a page that asks for something
/// from elsewhere, and plots that are left out.
#[test]
fn a_page_has_everything_and_lets_nothing_out() {
    let workspace = Workspace::new();
    folder(&workspace, "a", 0.0);
    folder(&workspace, "b", 0.1);
    call(&workspace, &["report", "a"])
        .expect_code(0)
        .expect_stdout("a/report.html");
    call(&workspace, &["report", "a", "--output", "elsewhere.html"])
        .expect_code(0)
        .expect_stdout("elsewhere.html");
    assert_eq!(
        workspace.read("elsewhere.html"),
        workspace.read("a/report.html")
    );
    let page = workspace.read("a/report.html");
    for part in [
        "id=\"overview\"",
        "id=\"targets\"",
        "Held-out metrics and their targets",
        "Metrics by epoch",
        "&quot;points&quot;:[[0.0,0.2],[1.0,",
        "target 0.4",
        "RLHF by PPO",
        "KL to the reference",
        "Entropy",
        "Length of responses",
        "Parts of the reward",
        "Policy and value loss",
        ">Best</button>",
        ">Worst</button>",
        ">Changed</button>",
        ">Learned from</button>",
        "cut off by its length",
        "12\u{2009}345\u{2009}679",
        "2 × &lt;trap&gt;",
        "1 batches were left out",
        "rlhf --method ppo --model-name",
        "prefers-color-scheme:dark",
        "@media print",
    ] {
        assert!(page.contains(part), "`{part}` is missing");
    }
    let known = [
        "!DOCTYPE",
        "html",
        "head",
        "meta",
        "link",
        "title",
        "body",
        "a",
        "header",
        "div",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "p",
        "nav",
        "main",
        "section",
        "span",
        "b",
        "small",
        "dl",
        "dt",
        "dd",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "svg",
        "rect",
        "circle",
        "path",
        "line",
        "text",
        "figure",
        "figcaption",
        "button",
        "article",
        "pre",
        "code",
        "i",
        "ul",
        "li",
        "details",
        "summary",
        "footer",
        "br",
        "wbr",
    ];
    let strange: Vec<String> = elements(&page)
        .into_iter()
        .filter(|name| !known.contains(&name.trim_start_matches('/')))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    for text in [
        "<img",
        "taken</h1>",
        "\u{2028}",
        "\u{202e}",
        "\u{1b}",
        "\0",
        "http://",
        "https://",
    ] {
        assert!(!page.contains(text), "{text:?} is in the page as it is");
    }
    assert_eq!(page.matches("<script").count(), 1);
    let plots: Vec<PathBuf> = std::fs::read_dir(workspace.join("a/plots"))
        .expect("plots")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(plots.len() >= 8, "{plots:?}");
    for plot in plots {
        let text = std::fs::read_to_string(&plot).expect("a file");
        assert!(
            text.contains(" d=\"M") && text.ends_with("</svg>"),
            "{}",
            plot.display()
        );
        assert!(!text.contains("<b>"), "{}", plot.display());
    }
    call(&workspace, &["report", "a", "b"])
        .expect_code(0)
        .expect_stdout("b/compare-a-b.html");
    let page = workspace.read("b/compare-a-b.html");
    for part in [
        "+0.1 ±",
        "training.learning_rate",
        "a: policy avg",
        "b: policy avg",
        "Changed",
    ] {
        assert!(page.contains(part), "`{part}` is missing");
    }
    assert!(!page.contains("<img"));
    call(&workspace, &["report", "nothing"])
        .expect_code(2)
        .expect_stderr("`nothing` holds no run");
}

/// The Chromium of this machine.
fn chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RLHF_CHROMIUM") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .flat_map(|folder| {
            ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name))
        })
        .find(|path| path.is_file())
}

/// What a browser has after it ran the page's script, and what it complained of.
fn browse(chromium: &Path, page: &Path, profile: &Path) -> (String, String) {
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
        ])
        .args(["--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("Chromium starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Would catch a script that the page's own policy stops, an error in it, a chart without data,
/// and hostile text that runs.
#[test]
#[ignore = "needs Chromium, which `cargo xtask deep` looks for and installs"]
fn a_browser_shows_the_page() {
    let Some(chromium) = chromium() else {
        eprintln!("not run: no Chromium on PATH, and RLHF_CHROMIUM is not set");
        return;
    };
    let workspace = Workspace::new();
    folder(&workspace, "a", 0.0);
    folder(&workspace, "b", 0.1);
    call(&workspace, &["report", "a"]).expect_code(0);
    call(&workspace, &["report", "a", "b"]).expect_code(0);
    for page in ["a/report.html", "b/compare-a-b.html"] {
        let (dom, errors) = browse(&chromium, &workspace.join(page), &workspace.join("profile"));
        let complaints: Vec<&str> = errors
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .collect();
        assert!(complaints.is_empty(), "{page}: {complaints:?}");
        // The script's first and last acts: it ran to its end.
        assert!(
            dom.contains("<html lang=\"en\" class=\"js\">"),
            "{page}: no script ran"
        );
        assert!(!dom.contains("<title>taken"), "{page}: hostile text ran");
        let charts = dom.matches("data-chart=").count();
        assert!(charts >= 8, "{page}: {charts} charts");
        for chart in dom.split("<svg class=\"chart\"").skip(1) {
            let chart = chart.split("</svg>").next().unwrap_or_default();
            assert!(
                chart.contains(" d=\"M"),
                "{page}: a chart without a line: {chart}"
            );
        }
        if page == "a/report.html" {
            assert!(
                dom.contains("id=\"samples-1\"") && dom.contains("hidden=\"\""),
                "no tab is hidden"
            );
        }
    }
}

/// Of a run that was really made.
pub fn check_page(workspace: &Workspace, name: &str) {
    let page = workspace.read(format!("{name}/report.html"));
    for part in [
        "id=\"overview\"",
        "id=\"curves\"",
        "id=\"samples\"",
        "id=\"plugins\"",
        " d=\"M",
    ] {
        assert!(page.contains(part), "{name}: `{part}` is missing");
    }
}
