//! `report.html`: one file that needs nothing else, not even a network.
//!
//! Everything that a model, a plugin or a data file said is escaped, and a content security
//! policy lets nothing run but the page's own script, which is named by its hash.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::chart;
use super::charts::{self, Group};
use super::overview::{overview, targets};
use super::run::{RunFiles, text};
use super::samples::{self, Tab};
use super::text::{base64, count, duration, escape, number, slug};

const STYLE: &str = include_str!("../../assets/report/page.css");
const SCRIPT: &str = include_str!("../../assets/report/page.js");

/// A section of a page; one without content is left out.
pub struct Section {
    pub title: &'static str,
    pub content: String,
}

/// The report of one run.
pub fn of_run(run: &RunFiles) -> String {
    let groups = charts::groups(&[run]);
    let sections = [
        section("Overview", overview(run)),
        section("Targets", targets(run)),
        section("Curves", curves(&groups)),
        section("Samples", tab_list("samples", &samples::tabs(run))),
        section("Plugins", plugins(run)),
        section("Warnings", warnings(run)),
        section("Reproduce", reproduce(run)),
    ];
    let method = text(&run.summary["method"]);
    let kind = match (run.is_reward_model(), method) {
        (true, _) => "Reward model".to_owned(),
        (false, "") => "Run without a summary: it has not come to its end".to_owned(),
        (false, method) => charts::title(method),
    };
    page(&run.name, &kind, &sections)
}

/// A section of this title.
pub fn section(title: &'static str, content: String) -> Section {
    Section { title, content }
}

/// The whole file.
pub fn page(name: &str, kind: &str, sections: &[Section]) -> String {
    let style = format!("{}{STYLE}", chart::STYLE);
    let hash = |text: &str| base64(&Sha256::digest(text.as_bytes()));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <meta name=\"color-scheme\" content=\"light dark\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'\">\n\
        <link rel=\"icon\" href=\"data:,\">\n\
        <title>{}</title>\n<style>{style}</style>\n</head>\n<body>\n\
        <a class=\"skip\" href=\"#main\">To the content</a>\n<header class=\"top\"><div><h1>{}</h1><p>{}</p></div><nav aria-label=\"Sections\">",
        hash(&style),
        hash(SCRIPT),
        escape(name),
        escape(name),
        escape(kind)
    );
    let shown: Vec<&Section> = sections.iter().filter(|s| !s.content.is_empty()).collect();
    for section in &shown {
        let _ = write!(
            out,
            "<a href=\"#{}\">{}</a>",
            slug(section.title),
            section.title
        );
    }
    out.push_str("</nav></header>\n<main id=\"main\">\n");
    for section in &shown {
        let _ = write!(
            out,
            "<section id=\"{}\"><h2>{}</h2>\n{}</section>\n",
            slug(section.title),
            section.title,
            section.content
        );
    }
    let _ = write!(
        out,
        "</main>\n<footer>rlhf {}</footer>\n<div id=\"tip\" role=\"status\" hidden></div>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

/// A share as a bar.
pub fn bar(share: f64) -> String {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"track\" width=\"100\" height=\"6\"/><rect class=\"fill\" width=\"{:.1}\" height=\"6\"/></svg>",
        share * 100.0
    )
}

/// `[0.61, 0.72]`; empty for what is none.
pub fn interval(value: &Value) -> String {
    match (value[0].as_f64(), value[1].as_f64()) {
        (Some(low), Some(high)) => format!("[{}, {}]", number(low), number(high)),
        _ => String::new(),
    }
}

/// All charts, group by group.
pub fn curves(groups: &[Group]) -> String {
    let mut out = String::new();
    for group in groups {
        let _ = write!(
            out,
            "<h3>{}</h3><div class=\"charts\">",
            escape(&group.title)
        );
        for chart in &group.charts {
            let _ = write!(
                out,
                "<figure tabindex=\"0\"><figcaption><b>{}</b> {}</figcaption>{}</figure>",
                escape(&chart.title),
                escape(&chart.note),
                chart.svg()
            );
        }
        out.push_str("</div>\n");
    }
    out
}

/// Tabs, of which one is shown; all of them without a script, and in print.
pub fn tab_list(name: &str, tabs: &[Tab]) -> String {
    if tabs.is_empty() {
        return String::new();
    }
    let mut out = format!("<div class=\"tabs\"><div role=\"tablist\" aria-label=\"{name}\">");
    for (at, tab) in tabs.iter().enumerate() {
        let _ = write!(
            out,
            "<button role=\"tab\" id=\"{name}-tab-{at}\" aria-controls=\"{name}-{at}\" aria-selected=\"{}\" tabindex=\"{}\">{}</button>",
            at == 0,
            if at == 0 { 0 } else { -1 },
            escape(&tab.title)
        );
    }
    out.push_str("</div>");
    for (at, tab) in tabs.iter().enumerate() {
        let _ = write!(
            out,
            "<div role=\"tabpanel\" id=\"{name}-{at}\" aria-labelledby=\"{name}-tab-{at}\" tabindex=\"0\"><h3 class=\"printed\">{}</h3><p>{}</p>{}</div>",
            escape(&tab.title),
            escape(&tab.note),
            tab.cards.concat()
        );
    }
    out.push_str("</div>\n");
    out
}

fn plugins(run: &RunFiles) -> String {
    let pins = run.manifest["plugins"].as_array();
    let pins = pins.map(Vec::as_slice).unwrap_or_default();
    if pins.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<div class=\"wide\"><table><thead><tr><th scope=\"col\">plugin</th><th scope=\"col\">kind</th><th scope=\"col\">granted</th><th scope=\"col\" class=\"n\">samples</th><th scope=\"col\" class=\"n\">time</th><th scope=\"col\" class=\"n\">a sample</th><th scope=\"col\" class=\"n\">the slowest</th><th scope=\"col\" class=\"n\">fuel a sample</th><th scope=\"col\" class=\"n\">memory</th><th scope=\"col\">failures</th><th scope=\"col\">sha256</th></tr></thead><tbody>",
    );
    for pin in pins {
        let name = text(&pin["name"]);
        let grants = pin["grants"].as_array().into_iter().flatten();
        let grants: Vec<&str> = grants.filter_map(Value::as_str).collect();
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}<small>{}</small></th><td>{}</td><td>{}</td>",
            escape(name),
            escape(text(&pin["path"])),
            escape(text(&pin["kind"])),
            match grants.is_empty() {
                true => "–".to_owned(),
                false => escape(&grants.join(", ")),
            }
        );
        let _ = match run.costs.get(name) {
            Some(cost) => {
                let each = |value: f64| value / cost.samples.max(1.0);
                let failures = cost
                    .failures
                    .iter()
                    .map(|(kind, times)| format!("{} × {}", count(*times), escape(kind)));
                let failures = failures.collect::<Vec<_>>().join("<br>");
                write!(
                    out,
                    "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{} MiB</td><td>{}</td>",
                    count(cost.samples),
                    duration(cost.seconds),
                    duration(each(cost.seconds)),
                    duration(cost.slowest),
                    count(each(cost.fuel)),
                    number(cost.memory_bytes / f64::from(1 << 20)),
                    match failures.as_str() {
                        "" => "none",
                        some => some,
                    }
                )
            }
            None => write!(
                out,
                "<td class=\"n\">–</td><td class=\"n\">–</td><td class=\"n\">–</td><td class=\"n\">–</td><td class=\"n\">–</td><td class=\"n\">–</td><td>–</td>"
            ),
        };
        let _ = write!(
            out,
            "<td class=\"hash\"><code title=\"{0}\">{1:.16}…</code></td></tr>",
            escape(text(&pin["sha256"])),
            escape(text(&pin["sha256"]))
        );
    }
    out.push_str("</tbody></table></div>\n<p class=\"note\">Time is what the run waited for; programs that a plugin runs in the sandbox are included. Fuel counts WebAssembly instructions.</p>\n");
    out
}

fn warnings(run: &RunFiles) -> String {
    let warnings = &run.warnings;
    if run.summary.is_null() && warnings.is_empty() {
        return String::new();
    }
    let bad = run.summary["rollouts"]["bad_batches"]
        .as_f64()
        .unwrap_or(0.0);
    if warnings.is_empty() && bad == 0.0 {
        return "<p>None.</p>\n".to_owned();
    }
    let mut out = String::from("<ul class=\"warnings\">");
    if bad > 0.0 {
        let _ = write!(
            out,
            "<li>{} batches were left out because a number was not finite; they lie in the run’s folder.</li>",
            count(bad)
        );
    }
    for warning in warnings {
        let _ = write!(out, "<li>{}</li>", escape(warning));
    }
    out.push_str("</ul>\n");
    out
}

/// The command, word by word as a shell takes it, and the settings that came of it.
fn reproduce(run: &RunFiles) -> String {
    let words = run.manifest["command"].as_array().into_iter().flatten();
    let words: Vec<String> = words
        .filter_map(Value::as_str)
        .enumerate()
        .map(|(at, word)| match at {
            0 => "rlhf".to_owned(),
            _ => quoted(word),
        })
        .collect();
    let mut out = String::new();
    if !words.is_empty() {
        let _ = writeln!(
            out,
            "<pre class=\"command\" tabindex=\"0\"><code>{}</code></pre><p class=\"note\">With the plugins of the hashes above, the same data and this version, an equal run on the same machine leaves the same bytes. <code>rlhf replay {}</code> computes the logged rewards again.</p>",
            escape(&words.join(" ")),
            escape(&quoted(&run.folder.display().to_string()))
        );
    }
    if let Some(config) = run.config.as_object() {
        let mut lines = String::new();
        for (key, value) in flat(config) {
            let _ = write!(
                lines,
                "<tr><th scope=\"row\">{}</th><td><code>{}</code></td></tr>",
                escape(&key),
                escape(&value)
            );
        }
        let _ = writeln!(
            out,
            "<details><summary>All settings</summary><table class=\"settings\"><tbody>{lines}</tbody></table></details>"
        );
    }
    out
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Settings as `section.key` and their JSON.
pub fn flat(config: &serde_json::Map<String, Value>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (key, value) in config {
        match value {
            Value::Object(inside) => {
                let inside = flat(inside).into_iter();
                all.extend(inside.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            other => all.push((key.clone(), other.to_string())),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a command that a shell would read otherwise.
    #[test]
    fn words_survive_a_shell() {
        let check = |word: &str, expected: &str| assert_eq!(quoted(word), expected);
        check("--mode", "--mode");
        check("bleu,weight=1", "bleu,weight=1");
        check("a b", "'a b'");
        check("it's", "'it'\\''s'");
        check("", "''");
        check("x,config={\"a\":1}", "'x,config={\"a\":1}'");
    }
}
