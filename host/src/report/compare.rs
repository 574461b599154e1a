//! Two runs beside one another: what differs in settings and plugins, in scores, curves and
//! responses.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value;

use super::charts;
use super::page::{curves, flat, interval, page, section, tab_list};
use super::run::{RunFiles, text};
use super::samples::{self, signed};
use super::text::{escape, number};

/// Settings that differ between any two runs and mean nothing.
const PLACES: [&str; 2] = ["output_dir", "experiment_name"];

/// The comparison of `a`, the baseline, and `b`.
pub fn of_runs(a: &RunFiles, b: &RunFiles) -> String {
    let (mut a, mut b) = (a.clone(), b.clone());
    if a.name == b.name {
        a.name.push_str(" (A)");
        b.name.push_str(" (B)");
    }
    let (a, b) = (&a, &b);
    let sections = [
        section("Scores", scores(a, b)),
        section("Settings", settings(a, b)),
        section("Curves", curves(&charts::groups(&[a, b]))),
        section("Samples", responses(a, b)),
        section("Plugins", plugins(a, b)),
    ];
    let title = format!("{} and {}", a.name, b.name);
    page(&title, "Comparison of two runs", &sections)
}

/// Both values of each metric after the last stage, and their difference over the tasks that both have.
fn scores(a: &RunFiles, b: &RunFiles) -> String {
    let last = |run: &RunFiles| -> Vec<Value> {
        let stages = run.summary["evaluations"].as_array();
        let last = stages.and_then(|stages| stages.last());
        let metrics = last.and_then(|stage| stage["metrics"].as_array());
        metrics.cloned().unwrap_or_default()
    };
    let (of_a, of_b) = (last(a), last(b));
    let mut out = format!(
        "<div class=\"wide\"><table><thead><tr><th scope=\"col\">metric</th><th scope=\"col\" class=\"n\">{}</th><th scope=\"col\" class=\"n\">{}</th><th scope=\"col\" class=\"n\">difference, mean over tasks</th><th scope=\"col\"></th></tr></thead><tbody>",
        escape(&a.name),
        escape(&b.name)
    );
    let mut any = false;
    for metric in &of_a {
        let name = text(&metric["name"]);
        let Some(other) = of_b.iter().find(|other| other["name"] == name) else {
            continue;
        };
        any = true;
        let higher = metric["higher_is_better"].as_bool().unwrap_or(true);
        let (difference, verdict) = match paired(a, b, name) {
            Some((difference, half)) => {
                let verdict = match (difference.abs() > half, (difference > 0.0) == higher) {
                    (false, _) => "<span class=\"chip\">no clear difference</span>",
                    (true, true) => "<span class=\"chip good\">better</span>",
                    (true, false) => "<span class=\"chip bad\">worse</span>",
                };
                (
                    format!("{} ± {}", signed(difference), number(half)),
                    verdict,
                )
            }
            None => ("–".to_owned(), ""),
        };
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th>{}{}<td class=\"n\">{difference}</td><td>{verdict}</td></tr>",
            escape(name),
            value(metric),
            value(other)
        );
    }
    out.push_str("</tbody></table></div><p class=\"note\">± is the half-width of the 95 % interval of the mean difference over tasks that both runs answered (1.96 standard errors). <code>rlhf eval</code> with two files of predictions tests by the paired bootstrap.</p>\n");
    if any { out } else { String::new() }
}

fn value(metric: &Value) -> String {
    match metric["value"].as_f64() {
        Some(value) => format!(
            "<td class=\"n\">{}<small>{}</small></td>",
            number(value),
            interval(&metric["interval"])
        ),
        None => "<td class=\"n\">–</td>".to_owned(),
    }
}

/// The mean difference of a metric's scores of the same tasks, and 1.96 standard errors of it.
fn paired(a: &RunFiles, b: &RunFiles, metric: &str) -> Option<(f64, f64)> {
    let scores = |run: &RunFiles| -> HashMap<String, f64> {
        let rows = run.evaluations.last().map(|(_, rows)| rows.as_slice());
        let rows = rows.unwrap_or_default().iter();
        rows.filter_map(|row| {
            let score = row["metrics"][metric]["value"].as_f64()?;
            // Runs on other data may have other prompts under the same id.
            Some((
                format!("{}\n{}", text(&row["id"]), text(&row["prompt"])),
                score,
            ))
        })
        .collect()
    };
    let (of_a, of_b) = (scores(a), scores(b));
    let differences: Vec<f64> = of_a
        .iter()
        .filter_map(|(id, score)| Some(of_b.get(id)? - score))
        .collect();
    let count = differences.len() as f64;
    if count < 2.0 {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / count;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    Some((mean, 1.96 * (squares / (count - 1.0) / count).sqrt()))
}

fn settings(a: &RunFiles, b: &RunFiles) -> String {
    let all = |run: &RunFiles| -> Vec<(String, String)> {
        run.config.as_object().map(flat).unwrap_or_default()
    };
    let (of_a, of_b) = (all(a), all(b));
    let find = |list: &[(String, String)], key: &str| {
        let found = list.iter().find(|(of, _)| of == key);
        found.map_or("–".to_owned(), |(_, value)| value.clone())
    };
    let mut keys: Vec<&String> = of_a.iter().map(|(key, _)| key).collect();
    for (key, _) in &of_b {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut lines = String::new();
    for key in keys {
        let (left, right) = (find(&of_a, key), find(&of_b, key));
        if left != right && !PLACES.contains(&key.as_str()) {
            let _ = write!(
                lines,
                "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td><code>{}</code></td></tr>",
                escape(key),
                escape(&left),
                escape(&right)
            );
        }
    }
    if lines.is_empty() {
        return "<p>All settings are the same.</p>\n".to_owned();
    }
    table(a, b, "setting", &lines)
}

fn table(a: &RunFiles, b: &RunFiles, of: &str, lines: &str) -> String {
    format!(
        "<div class=\"wide\"><table class=\"settings\"><thead><tr><th scope=\"col\">{of}</th><th scope=\"col\">{}</th><th scope=\"col\">{}</th></tr></thead><tbody>{lines}</tbody></table></div>\n",
        escape(&a.name),
        escape(&b.name)
    )
}

fn responses(a: &RunFiles, b: &RunFiles) -> String {
    let (Some((stage_a, old)), Some((stage_b, new))) = (a.evaluations.last(), b.evaluations.last())
    else {
        return String::new();
    };
    let metric = samples::deciding_metric(b, new);
    let (left, right) = (
        format!("{}, {stage_a}", a.name),
        format!("{}, {stage_b}", b.name),
    );
    let tab = samples::changes((&left, old), (&right, new), &metric);
    if tab.cards.is_empty() {
        return "<p>Both runs give the same responses.</p>\n".to_owned();
    }
    tab_list("samples", &[tab])
}

fn plugins(a: &RunFiles, b: &RunFiles) -> String {
    let hashes = |run: &RunFiles| -> Vec<(String, String)> {
        let pins = run.manifest["plugins"].as_array().into_iter().flatten();
        pins.map(|pin| {
            (
                text(&pin["name"]).to_owned(),
                text(&pin["sha256"]).to_owned(),
            )
        })
        .collect()
    };
    let (of_a, of_b) = (hashes(a), hashes(b));
    let mut names: Vec<&String> = of_a.iter().map(|(name, _)| name).collect();
    for (name, _) in &of_b {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut lines = String::new();
    for name in names {
        let find = |list: &[(String, String)]| {
            let found = list.iter().find(|(of, _)| of == name);
            found.map(|(_, hash)| hash.clone())
        };
        let (left, right) = (find(&of_a), find(&of_b));
        let same = left == right;
        let cell = |hash: Option<String>| match hash {
            Some(hash) => format!("<code>{}</code>", escape(hash.get(..16).unwrap_or(&hash))),
            None => "–".to_owned(),
        };
        let _ = write!(
            lines,
            "<tr><th scope=\"row\">{}{}</th><td>{}</td><td>{}</td></tr>",
            escape(name),
            if same {
                ""
            } else {
                " <span class=\"chip bad\">differs</span>"
            },
            cell(left),
            cell(right)
        );
    }
    match lines.as_str() {
        "" => String::new(),
        lines => table(a, b, "plugin", lines),
    }
}
