//! Responses that are worth reading, side by side, and why each has its score.

use serde_json::Value;

use super::highlight::{changed, code};
use super::run::{RunFiles, text};
use super::text::{escape, number};

/// Responses of each sort. Chosen: what a person reads.
const SHOWN: usize = 6;

/// A sort of samples: a tab of the page.
pub struct Tab {
    pub title: String,
    /// What they have in common, a sentence.
    pub note: String,
    /// Elements of the page.
    pub cards: Vec<String>,
}

/// Best, worst and changed responses of a run, and what it learned from last.
pub fn tabs(run: &RunFiles) -> Vec<Tab> {
    let mut tabs = Vec::new();
    if let Some((stage, rows)) = run.evaluations.last() {
        let metric = deciding_metric(run, rows);
        let mut ranked = ranked(rows, |row| score(row, &metric));
        let shown = ranked.len().min(SHOWN);
        let cards = |rows: &[&Value]| rows.iter().map(|row| judged(run, row)).collect();
        tabs.push(Tab {
            title: "Best".to_owned(),
            note: format!("The highest {metric}, {stage}."),
            cards: cards(&ranked[..shown]),
        });
        ranked.reverse();
        tabs.push(Tab {
            title: "Worst".to_owned(),
            note: format!("The lowest {metric}, {stage}."),
            cards: cards(&ranked[..shown]),
        });
        if let [.., (before, old), (after, new)] = run.evaluations.as_slice() {
            tabs.push(changes((before, old), (after, new), &metric));
        }
    }
    let ranked = ranked(&run.learned, |row| row["reward"].as_f64());
    if !ranked.is_empty() {
        let ends = SHOWN.min(ranked.len()) / 2;
        let (best, worst) = (&ranked[..ends], &ranked[ranked.len() - ends..]);
        let cards = best.iter().chain(worst).map(|row| rewarded(row)).collect();
        tabs.push(Tab {
            title: "Learned from".to_owned(),
            note: "Of the last responses that were learned from: the highest rewards, then the lowest.".to_owned(),
            cards,
        });
    }
    tabs.retain(|tab| !tab.cards.is_empty());
    tabs
}

/// Tasks whose responses differ between two evaluations, the greatest changes of the metric first.
pub fn changes(
    (before, old): (&str, &[Value]),
    (after, new): (&str, &[Value]),
    metric: &str,
) -> Tab {
    let mut pairs: Vec<(&Value, &Value, f64)> = Vec::new();
    let by_id: std::collections::HashMap<&str, &Value> =
        old.iter().map(|row| (text(&row["id"]), row)).collect();
    for row in new {
        let Some(earlier) = by_id.get(text(&row["id"])) else {
            continue;
        };
        if earlier["response"] == row["response"] {
            continue;
        }
        let change = score(row, metric)
            .zip(score(earlier, metric))
            .map_or(0.0, |(new, old)| new - old);
        pairs.push((earlier, row, change));
    }
    let of = pairs.len();
    pairs.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
    let cards = pairs.iter().take(SHOWN);
    Tab {
        title: "Changed".to_owned(),
        note: format!(
            "{of} of {} responses differ between “{before}” and “{after}”; those whose {metric} changed most.",
            new.len()
        ),
        cards: cards
            .map(|(old, new, change)| {
                let (a, b) = (text(&old["response"]), text(&new["response"]));
                format!(
                    "<article class=\"sample\">{}<div class=\"pair\">{}{}</div><div class=\"pair\">{}{}</div></article>",
                    head(new, &format!("{metric} {}", signed(*change)), *change >= 0.0),
                    side(before, &changed(a, b, "removed")),
                    side(after, &changed(b, a, "added")),
                    why(old),
                    why(new)
                )
            })
            .collect(),
    }
}

/// The metric that best and worst are told by: the first that is a part of the reward, or that
/// ranks preferences, or the first.
pub fn deciding_metric(run: &RunFiles, rows: &[Value]) -> String {
    let first = rows.first().map(|row| row["metrics"].clone());
    let names: Vec<String> = first
        .as_ref()
        .and_then(Value::as_object)
        .map(|metrics| metrics.keys().cloned().collect())
        .unwrap_or_default();
    let rewarded = run.learned.first().and_then(|row| row["parts"].as_object());
    let rewarded = rewarded
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str());
    let ranking = text(&run.config["preferences"]["metric"]);
    rewarded
        .chain([ranking])
        .find(|name| names.iter().any(|of| of == name))
        .map(str::to_owned)
        .or(names.first().cloned())
        .unwrap_or_default()
}

fn score(row: &Value, metric: &str) -> Option<f64> {
    row["metrics"][metric]["value"].as_f64()
}

/// Rows that have a value, the highest first; equal ones in their order.
fn ranked(rows: &[Value], value: impl Fn(&Value) -> Option<f64>) -> Vec<&Value> {
    let mut ranked: Vec<(&Value, f64)> = rows
        .iter()
        .filter_map(|row| Some((row, value(row)?)))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.into_iter().map(|(row, _)| row).collect()
}

/// A response beside its reference.
fn judged(run: &RunFiles, row: &Value) -> String {
    let task = text(&row["task"]);
    let reference = run.references.get(task);
    let reference = reference.map_or(String::new(), |text| side("Reference", &code(text)));
    format!(
        "<article class=\"sample\">{}<div class=\"pair\">{}{reference}</div>{}</article>",
        head(row, "", true),
        side(&finish(row), &code(text(&row["response"]))),
        why(row)
    )
}

/// A response with the parts of its reward.
fn rewarded(row: &Value) -> String {
    let reward = row["reward"].as_f64().unwrap_or(f64::NAN);
    format!(
        "<article class=\"sample\">{}<div class=\"pair\">{}</div>{}</article>",
        head(row, &format!("reward {}", number(reward)), reward >= 0.0),
        side(&finish(row), &code(text(&row["response"]))),
        why(row)
    )
}

fn finish(row: &Value) -> String {
    let tokens = row["tokens"].as_u64();
    let how = match text(&row["finish"]) {
        "length" => ", cut off by its length",
        _ => "",
    };
    match tokens {
        Some(tokens) => format!("Response: {tokens} tokens{how}"),
        None => "Response".to_owned(),
    }
}

fn head(row: &Value, chip: &str, good: bool) -> String {
    let chip = match (chip, good) {
        ("", _) => String::new(),
        (chip, true) => format!("<span class=\"chip good\">{}</span>", escape(chip)),
        (chip, false) => format!("<span class=\"chip bad\">{}</span>", escape(chip)),
    };
    format!(
        "<header><h4>{}</h4>{chip}</header><pre class=\"prompt\"><code>{}</code></pre>",
        escape(text(&row["id"])),
        code(text(&row["prompt"]))
    )
}

fn side(title: &str, inside: &str) -> String {
    format!(
        "<div><h5>{}</h5><pre tabindex=\"0\"><code>{}</code></pre></div>",
        escape(title),
        if inside.is_empty() {
            "<i>(empty)</i>"
        } else {
            inside
        }
    )
}

/// Where a score comes from: parts of the reward with their weights, metrics with their
/// components, and what failed.
fn why(row: &Value) -> String {
    let mut lines = String::new();
    for (name, part) in row["parts"].as_object().into_iter().flatten() {
        let weight = part["weight"].as_f64().unwrap_or(1.0);
        let (value, detail) = match part["value"].as_f64() {
            Some(value) => (
                format!(
                    "{} × {} = {}",
                    number(weight),
                    number(value),
                    number(weight * value)
                ),
                components(&part["parts"]),
            ),
            None => ("–".to_owned(), escape(text(&part["abstained"]))),
        };
        line(&mut lines, &format!("{name} (reward)"), &value, &detail);
    }
    for (name, metric) in row["metrics"].as_object().into_iter().flatten() {
        let (value, detail) = match metric["value"].as_f64() {
            Some(value) => (number(value), components(&metric["components"])),
            None => ("failed".to_owned(), escape(text(&metric["reason"]))),
        };
        line(&mut lines, name, &value, &detail);
    }
    if let Some(score) = row["reward_model"].as_f64() {
        line(&mut lines, "reward model", &number(score), "");
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("<table class=\"why\"><tbody>{lines}</tbody></table>")
}

fn line(out: &mut String, name: &str, value: &str, detail: &str) {
    out.push_str(&format!(
        "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td>{detail}</td></tr>",
        escape(name),
        escape(value)
    ));
}

/// The first components; a metric may have a dozen, and the file has all.
fn components(value: &Value) -> String {
    const COMPONENTS: usize = 6;
    let all: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    let mut out: String = all
        .iter()
        .take(COMPONENTS)
        .map(|(name, value)| {
            format!(
                "<span class=\"part\">{} <b>{}</b></span>",
                escape(&name.replace('_', " ")),
                number(value.as_f64().unwrap_or(f64::NAN))
            )
        })
        .collect();
    if all.len() > COMPONENTS {
        out.push_str(&format!(
            "<span class=\"part\">and {} more</span>",
            all.len() - COMPONENTS
        ));
    }
    out
}

/// A number with its sign.
pub fn signed(value: f64) -> String {
    if value > 0.0 {
        format!("+{}", number(value))
    } else {
        number(value).replace('-', "−")
    }
}
