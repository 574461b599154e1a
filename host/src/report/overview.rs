//! The sections of a page that say what a run came to: its headline, its targets.

use std::fmt::Write;

use serde_json::Value;

use super::page::{bar, interval};
use super::run::{RunFiles, text};
use super::samples;
use super::text::{count, duration, escape, number};

/// What the run came to, where its time went, every metric after every stage.
pub fn overview(run: &RunFiles) -> String {
    if run.summary.is_null() {
        return "<p>The run has not come to its end, or is still at work: there is no summary yet.</p>\n".to_owned();
    }
    let mut out = String::from("<div class=\"cards\">");
    let first = first_metrics(run);
    for target in run.summary["targets"].as_array().into_iter().flatten() {
        let Some(value) = target["value"].as_f64() else {
            continue;
        };
        let name = text(&target["metric"]);
        let change = first
            .iter()
            .find(|metric| metric["name"] == name)
            .and_then(|metric| metric["value"].as_f64())
            .map(|before| value - before);
        card(
            &mut out,
            name,
            &number(value),
            &change.map_or(String::new(), |change| {
                format!("{} since the start", samples::signed(change))
            }),
            match target["met"].as_bool() {
                Some(true) => "good",
                _ => "bad",
            },
        );
    }
    let summary = &run.summary;
    if let Some(preferences) = summary["preferences"].as_object() {
        let accuracy = |when: &str| preferences[when]["accuracy"].as_f64().unwrap_or(f64::NAN);
        card(
            &mut out,
            "preference accuracy",
            &number(accuracy("after")),
            &format!("{} before, held-out pairs", number(accuracy("before"))),
            "",
        );
    }
    if let Some(rollouts) = summary["rollouts"].as_object() {
        let of = |key: &str| rollouts[key].as_f64().unwrap_or(f64::NAN);
        card(
            &mut out,
            "reward, last step",
            &number(of("final_reward")),
            &format!("KL {} nats", number(of("final_kl"))),
            "",
        );
    }
    for (key, name) in [
        ("accuracy", "held-out accuracy"),
        ("shorter_wins", "the shorter response wins"),
    ] {
        if let Some(value) = summary[key]["value"].as_f64() {
            let interval = interval(&summary[key]["interval"]);
            card(&mut out, name, &number(value), &interval, "");
        }
    }
    out.push_str("</div>\n");
    out.push_str(&facts(run));
    out.push_str(&stage_table(run));
    out
}

fn card(out: &mut String, name: &str, value: &str, note: &str, class: &str) {
    let _ = write!(
        out,
        "<div class=\"card {class}\"><span>{}</span><b>{}</b><small>{}</small></div>",
        escape(name),
        escape(value),
        escape(note)
    );
}

/// The metrics of the first evaluation.
fn first_metrics(run: &RunFiles) -> Vec<Value> {
    let metrics = run.summary["evaluations"][0]["metrics"].as_array();
    metrics.cloned().unwrap_or_default()
}

fn facts(run: &RunFiles) -> String {
    let (summary, manifest) = (&run.summary, &run.manifest);
    let mut facts: Vec<(&str, String)> = Vec::new();
    let mut add = |name: &'static str, value: String| {
        if !value.is_empty() {
            facts.push((name, value));
        }
    };
    add("Model", text(&summary["model"]).to_owned());
    add(
        "Seed",
        summary["seed"]
            .as_u64()
            .map_or(String::new(), |seed| seed.to_string()),
    );
    if let Some(rollouts) = summary["rollouts"].as_object() {
        let of = |key: &str| rollouts[key].as_f64().unwrap_or(0.0);
        add("Steps", count(of("steps")));
        add("Responses learned from", count(of("responses")));
    }
    if let Some(preferences) = summary["preferences"].as_object() {
        let of = |key: &str| preferences[key].as_f64().unwrap_or(0.0);
        add(
            "Preference pairs",
            format!(
                "{} trained on, {} held out, from {}",
                count(of("pairs_trained")),
                count(of("pairs_held_out")),
                text(&preferences["source"])
            ),
        );
    }
    if let Some(examples) = summary["examples_trained"].as_f64() {
        add("Examples trained on", count(examples));
    }
    let tasks = summary["evaluations"][0]["tasks"].as_f64();
    add("Held-out tasks", tasks.map_or(String::new(), count));
    let machine = &manifest["machine"];
    add(
        "Machine",
        match machine["cores"].as_u64() {
            Some(cores) => format!(
                "{} on {} {}, {cores} cores",
                text(&machine["device"]),
                text(&machine["os"]),
                text(&machine["architecture"])
            ),
            None => String::new(),
        },
    );
    add(
        "Versions",
        match text(&manifest["rlhf"]) {
            "" => String::new(),
            version => format!("rlhf {version}, wasmtime {}", text(&manifest["wasmtime"])),
        },
    );
    let mut out = String::from("<dl class=\"facts\">");
    for (name, value) in facts {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    out.push_str("</dl>\n");
    out.push_str(&seconds(manifest));
    out
}

/// Where the time went.
fn seconds(manifest: &Value) -> String {
    let stages: Vec<(&str, f64)> = manifest["seconds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_f64()?)))
        .collect();
    let total: f64 = stages.iter().map(|(_, seconds)| seconds).sum();
    if stages.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<h3>Time: {}</h3><table class=\"times\"><tbody>",
        duration(total)
    );
    for (stage, taken) in stages {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td>{}</td></tr>",
            escape(stage),
            duration(taken),
            bar(taken / total)
        );
    }
    out.push_str("</tbody></table>\n");
    out
}

/// Every metric after every stage.
fn stage_table(run: &RunFiles) -> String {
    let stages = run.summary["evaluations"].as_array();
    let stages = stages.map(Vec::as_slice).unwrap_or_default();
    let Some(last) = stages.last() else {
        return String::new();
    };
    let mut out = String::from(
        "<h3>Held-out scores</h3><div class=\"wide\"><table><thead><tr><th scope=\"col\">metric</th>",
    );
    for stage in stages {
        let _ = write!(
            out,
            "<th scope=\"col\" class=\"n\">{}</th>",
            escape(text(&stage["stage"]))
        );
    }
    out.push_str("<th scope=\"col\">how it was computed</th></tr></thead><tbody>");
    for metric in last["metrics"].as_array().into_iter().flatten() {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th>",
            escape(text(&metric["name"]))
        );
        for stage in stages {
            let all = stage["metrics"].as_array().into_iter().flatten();
            let found = all.into_iter().find(|of| of["name"] == metric["name"]);
            let value = found.and_then(|found| found["value"].as_f64());
            let _ = match (found, value) {
                (Some(found), Some(value)) => write!(
                    out,
                    "<td class=\"n\">{}<small>{}</small></td>",
                    number(value),
                    interval(&found["interval"])
                ),
                _ => write!(out, "<td class=\"n\">–</td>"),
            };
        }
        let _ = write!(
            out,
            "<td class=\"signature\">{}</td></tr>",
            escape(text(&metric["signature"])).replace('|', "|<wbr>")
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Each target with the value, its interval, and whether that is enough.
pub fn targets(run: &RunFiles) -> String {
    let targets = run.summary["targets"].as_array();
    let targets = targets.map(Vec::as_slice).unwrap_or_default();
    if targets.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<div class=\"wide\"><table class=\"targets\"><thead><tr><th scope=\"col\">metric</th><th scope=\"col\" class=\"n\">value</th><th scope=\"col\" class=\"n\">95 % interval</th><th scope=\"col\" class=\"n\">target</th><th scope=\"col\"></th><th scope=\"col\">outcome</th></tr></thead><tbody>",
    );
    for target in targets {
        let wanted = target["target"].as_f64().unwrap_or(f64::NAN);
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th>",
            escape(text(&target["metric"]))
        );
        let _ = match target["value"].as_f64() {
            Some(value) => write!(
                out,
                "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
                number(value),
                interval(&target["interval"]),
                number(wanted),
                gauge(value, &target["interval"], wanted),
                outcome(value, &target["interval"], wanted)
            ),
            None => write!(
                out,
                "<td class=\"n\">–</td><td></td><td class=\"n\">{}</td><td colspan=\"2\">not computed: {}</td></tr>",
                number(wanted),
                escape(text(&target["reason"]))
            ),
        };
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Met or missed, and whether the interval leaves a doubt.
fn outcome(value: f64, interval: &Value, target: f64) -> String {
    let (word, class) = match value >= target {
        true => ("met", "good"),
        false => ("missed", "bad"),
    };
    let unsure = match (interval[0].as_f64(), interval[1].as_f64()) {
        (Some(low), Some(high)) => low < target && target <= high,
        _ => false,
    };
    let doubt = if unsure {
        " <small>within its interval</small>"
    } else {
        ""
    };
    format!("<span class=\"chip {class}\">{word}</span>{doubt}")
}

/// The value, its interval and the target on a line from 0 to 1, or as far as they reach.
fn gauge(value: f64, interval: &Value, target: f64) -> String {
    let low = interval[0].as_f64().unwrap_or(value);
    let high = interval[1].as_f64().unwrap_or(value);
    let top = [1.0, value, high, target].into_iter().fold(1.0, f64::max);
    let bottom = [0.0, value, low, target].into_iter().fold(0.0, f64::min);
    let x = |value: f64| 4.0 + (value - bottom) / (top - bottom) * 192.0;
    format!(
        "<svg class=\"gauge\" viewBox=\"0 0 200 18\" aria-hidden=\"true\"><rect class=\"track\" x=\"4\" y=\"7\" width=\"192\" height=\"4\" rx=\"2\"/><rect class=\"span\" x=\"{:.1}\" y=\"5\" width=\"{:.1}\" height=\"8\" rx=\"4\"/><circle class=\"dot\" cx=\"{:.1}\" cy=\"9\" r=\"5\"/><path class=\"goal\" d=\"M{:.1} 1v16\"/></svg>",
        x(low),
        (x(high) - x(low)).max(0.0),
        x(value),
        x(target)
    )
}
