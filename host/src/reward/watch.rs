//! Signs that a reward is being hacked: it rises, and what it stood for does not.
//!
//! Each batch leaves numbers (`diagnostics/…`), and a warning where a sign appears that was not
//! there in the batch before. Nothing here ends a run: only [canaries](crate::config::Rollout::canaries) do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{PartRewards, Rewards};
use crate::plugin::Sample;

/// Batches that say how it was, and as many that say how it is. Chosen: fewer are mostly noise.
const WINDOW: usize = 5;
/// Share of blank responses that is worth a word. Chosen.
const EMPTY: f64 = 0.1;
/// Share of a batch's prompts that one text answers, and the fewest prompts of which a share says
/// anything. Chosen: one in five answers that fits all prompts is no answer.
const REPEATED: f64 = 0.2;
const PROMPTS_MIN: usize = 5;
/// Responses this many times longer than at first, or shorter. Chosen.
const DRIFT: f64 = 2.0;
/// How far parts go apart, in deviations of their responses at first. Chosen.
const APART: f64 = 0.5;
/// The same in standard errors of the two means, so that small batches need more.
const ERRORS: f64 = 4.0;
/// Share of responses that a part gives no reward to. Chosen.
const SILENT: f64 = 0.2;

/// A batch that was scored.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub samples: &'a [Sample],
    /// Lengths of the responses, in tokens.
    pub tokens: &'a [usize],
    pub rewards: &'a Rewards,
    pub control: Option<&'a Control>,
}

/// What a response that is known to be bad is worth, and the task's own answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// The bad one's name.
    pub canary: String,
    pub bad: f64,
    pub good: f64,
}

impl Control {
    /// By how much the answer is better.
    pub fn margin(&self) -> f64 {
        self.good - self.bad
    }

    /// What to tell where it is not.
    pub fn warning(&self) -> Option<String> {
        let Self { canary, bad, good } = self;
        (self.margin() <= 0.0).then(|| {
            format!(
                "the reward has {} for a response that is known to be bad (`{canary}`), and {} for the answer of its task: a policy would learn to write the former",
                number(*bad),
                number(*good)
            )
        })
    }
}

/// What a batch showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signs {
    /// Numbers under their tags.
    pub values: Vec<(String, f64)>,
    /// Of signs that were not there before.
    pub warnings: Vec<String>,
}

/// Watches the batches of a training. It can be stored, and goes on where it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    lengths: History,
    parts: BTreeMap<String, History>,
    /// Signs that are there.
    there: BTreeSet<String>,
}

/// Means of batches: the first of all, and the last ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct History {
    first: Vec<Bits>,
    last: Vec<Bits>,
    /// Mean variance within the first batches, and how many numbers they had.
    variance: Bits,
    numbers: usize,
    /// Batches in a row, up to now, whose numbers were all this one.
    alike: usize,
    constant: Bits,
    /// Whether numbers ever differed.
    varied: bool,
}

/// A number that is stored by its bits: decimals would not give the same one back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
struct Bits(f64);

impl From<String> for Bits {
    fn from(text: String) -> Self {
        Self(f64::from_bits(text.parse().unwrap_or_default()))
    }
}

impl From<Bits> for String {
    fn from(bits: Bits) -> Self {
        bits.0.to_bits().to_string()
    }
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len().max(1) as f64
}

fn mean_bits(x: &[Bits]) -> f64 {
    x.iter().map(|x| x.0).sum::<f64>() / x.len().max(1) as f64
}

impl History {
    fn add(&mut self, numbers: &[f64]) {
        let Some(first) = numbers.first() else { return };
        let mean = mean(numbers);
        let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
        if self.first.len() < WINDOW {
            let batches = self.first.len() as f64;
            let variance = squares / numbers.len() as f64;
            self.variance = Bits((self.variance.0 * batches + variance) / (batches + 1.0));
            self.numbers += numbers.len();
            self.first.push(Bits(mean));
        } else {
            self.last.push(Bits(mean));
        }
        if self.last.len() > WINDOW {
            self.last.remove(0);
        }
        let all_alike = numbers.iter().all(|x| x == first);
        self.varied |= !all_alike;
        self.alike = match (all_alike, self.constant.0 == *first) {
            (true, true) => self.alike + 1,
            (true, false) => 1,
            (false, _) => 0,
        };
        self.constant = Bits(*first);
    }

    /// Means of the first and of the last batches, once there are enough.
    fn means(&self) -> Option<(f64, f64)> {
        (self.last.len() == WINDOW).then(|| (mean_bits(&self.first), mean_bits(&self.last)))
    }

    /// How far it has moved, in deviations, where that is no chance.
    fn moved(&self) -> Option<f64> {
        let (first, last) = self.means()?;
        let deviation = self.variance.0.sqrt();
        let moved = (last - first) / deviation.max(f64::EPSILON);
        let error = (2.0 / self.numbers.max(1) as f64).sqrt();
        (moved.abs() > APART.max(ERRORS * error)).then_some(moved)
    }
}

impl Watch {
    /// Looks at a batch, given the weight of each part by name.
    pub fn observe(&mut self, batch: &Batch, weight: &dyn Fn(&str) -> f64) -> Signs {
        let Batch {
            samples,
            tokens,
            rewards,
            control,
        } = *batch;
        let mut signs = Signs::default();
        let mut there = BTreeSet::new();
        let mut sign = |name: String, warning: String| {
            if there.insert(name.clone()) && !self.there.contains(&name) {
                signs.warnings.push(warning);
            }
        };
        if let Some(control) = control {
            signs
                .values
                .push(("diagnostics/canary_margin".into(), control.margin()));
            if let Some(warning) = control.warning() {
                sign("canary".into(), warning);
            }
        }
        let all = samples.len().max(1) as f64;
        let empty = samples.iter().filter(|s| s.response.trim().is_empty());
        let empty = empty.count() as f64 / all;
        signs
            .values
            .push(("diagnostics/empty_responses".into(), empty));
        if empty > EMPTY {
            let share = percent(empty);
            sign(
                "empty".into(),
                format!("{share} of the responses are empty"),
            );
        }
        let (repeated, text) = most_repeated(samples);
        signs
            .values
            .push(("diagnostics/repeated_response".into(), repeated));
        if repeated > REPEATED {
            let share = percent(repeated);
            sign(
                "repeated".into(),
                format!(
                    "one response answers {share} of the prompts: {}",
                    short(text)
                ),
            );
        }
        let lengths: Vec<f64> = tokens.iter().map(|t| *t as f64).collect();
        self.lengths.add(&lengths);
        if let Some((first, last)) = self.lengths.means() {
            let ratio = last / first.max(1.0);
            signs
                .values
                .push(("diagnostics/length_ratio".into(), ratio));
            if !(1.0 / DRIFT..=DRIFT).contains(&ratio) {
                sign(
                    "length".into(),
                    format!(
                        "responses have {last:.1} tokens in the mean, after {first:.1} at first"
                    ),
                );
            }
        }
        for part in &rewards.parts {
            let history = self.parts.entry(part.name.clone()).or_default();
            let values: Vec<f64> = part.values.iter().flatten().copied().collect();
            history.add(&values);
            let name = &part.name;
            if let Some((share, reason)) = silence(part) {
                let warning = format!(
                    "`{name}` gave no reward for {} of {} responses: {reason}",
                    part.reasons.iter().flatten().count(),
                    part.values.len()
                );
                // Once when it begins, once more when it is much.
                let much = if share > SILENT {
                    "is silent"
                } else {
                    "abstains"
                };
                sign(format!("{name} {much}"), warning);
            }
            if history.varied && history.alike >= WINDOW {
                sign(
                    format!("{name} is constant"),
                    format!(
                        "`{name}` has given {} to every response of the last {} steps: does it still run what it should?",
                        number(history.constant.0),
                        history.alike
                    ),
                );
            }
        }
        let moved = self.moved(weight);
        if let (Some(up), Some(down)) = (
            moved.iter().max_by(|a, b| a.1.total_cmp(&b.1)),
            moved.iter().min_by(|a, b| a.1.total_cmp(&b.1)),
        ) && up.1 > 0.0
            && down.1 < 0.0
        {
            signs
                .values
                .push(("diagnostics/parts_apart".into(), up.1 - down.1));
            let told = |name: &str| {
                let (first, last) = self.parts[name].means().unwrap_or_default();
                format!("from {} to {}", number(first), number(last))
            };
            sign(
                format!("{} against {}", up.0, down.0),
                format!(
                    "parts of the reward go apart: `{}` went {}, `{}` {}",
                    up.0,
                    told(&up.0),
                    down.0,
                    told(&down.0)
                ),
            );
        }
        self.there = there;
        signs
    }

    /// Parts that have moved, with how far towards more reward.
    fn moved(&self, weight: &dyn Fn(&str) -> f64) -> Vec<(String, f64)> {
        let parts = self.parts.iter();
        parts
            .filter_map(|(name, history)| {
                let moved = history.moved()?;
                Some((name.clone(), moved * weight(name).signum()))
            })
            .collect()
    }
}

/// Share of responses without a value, where there are some, and the first reason.
fn silence(part: &PartRewards) -> Option<(f64, &str)> {
    let reason = part.reasons.iter().flatten().next()?;
    let silent = part.reasons.iter().flatten().count();
    Some((silent as f64 / part.values.len() as f64, reason))
}

/// The response that answers the most prompts, as a share of the prompts; none of few prompts.
fn most_repeated(samples: &[Sample]) -> (f64, &str) {
    let mut prompts: HashMap<&str, HashSet<&str>> = HashMap::new();
    for sample in samples {
        let response = sample.response.trim();
        if !response.is_empty() {
            prompts.entry(response).or_default().insert(&sample.prompt);
        }
    }
    let all: HashSet<&str> = samples.iter().map(|s| s.prompt.as_str()).collect();
    // Of equals the first by its text, so that equal runs say the same.
    let most = prompts
        .into_iter()
        .max_by(|a, b| (a.1.len(), b.0).cmp(&(b.1.len(), a.0)));
    match most {
        Some((text, prompts)) if all.len() >= PROMPTS_MIN && prompts.len() > 1 => {
            (prompts.len() as f64 / all.len() as f64, text)
        }
        _ => (0.0, ""),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn number(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Characters of a response that a warning shows. Chosen.
const SHOWN: usize = 60;

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        None => format!("`{line}`"),
        Some((at, _)) => format!("`{}…`", &line[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a part makes of each response.
    type Values<'a> = &'a dyn Fn(usize) -> Option<f64>;

    /// A batch of eight responses to eight prompts, with the values of each part.
    fn look(
        watch: &mut Watch,
        response: &dyn Fn(usize) -> String,
        tokens: usize,
        parts: &[(&str, Values)],
    ) -> Signs {
        let samples: Vec<Sample> = (0..8)
            .map(|i| Sample {
                prompt: format!("p{i}"),
                response: response(i),
                ..Sample::default()
            })
            .collect();
        let of_part = |(name, value): &(&str, Values)| {
            let values: Vec<Option<f64>> = (0..8).map(value).collect();
            let reasons = values.iter().map(|v| v.is_none().then(|| "no".to_owned()));
            PartRewards {
                name: (*name).to_owned(),
                reasons: reasons.collect(),
                named: vec![Vec::new(); 8],
                values,
                ..PartRewards::default()
            }
        };
        let rewards = Rewards {
            totals: vec![Some(0.0); 8],
            parts: parts.iter().map(of_part).collect(),
            ..Rewards::default()
        };
        let late = tokens > 20;
        let control = Control {
            canary: "t/canary without a word".into(),
            bad: if late { 0.5 } else { 0.0 },
            good: 0.25,
        };
        let batch = Batch {
            samples: &samples,
            tokens: &[tokens; 8],
            rewards: &rewards,
            control: Some(&control),
        };
        watch.observe(&batch, &|name| match name {
            "penalty" => -1.0,
            _ => 1.0,
        })
    }

    fn own(i: usize) -> String {
        format!("return {i}")
    }

    /// Ups and downs around `level`.
    fn around(level: f64) -> impl Fn(usize) -> Option<f64> {
        move |i| Some(level + 0.1 * (i % 3) as f64)
    }

    // Would catch a sound training that is suspected: what it says must mean something.
    #[test]
    fn a_sound_training_is_left_alone() {
        let mut watch = Watch::default();
        for step in 0..30 {
            let level = f64::from(step) * 0.05;
            let (rising, slower) = (around(level), around(level * 0.5));
            let parts: [(&str, Values); 2] = [("tests", &rising), ("style", &slower)];
            let signs = look(&mut watch, &own, 20, &parts);
            assert_eq!(signs.warnings, Vec::<String>::new(), "step {step}");
        }
    }

    // Would catch each of the signs going unseen, and a warning at every step.
    #[test]
    fn signs_are_told_once_with_their_numbers() {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for step in 0..20 {
            let late = step >= 10;
            let rise = if late { 1.0 } else { 0.0 };
            let (length, tests) = (around(rise), around(-rise));
            let silent = |i: usize| (!late || i > 1).then_some(0.5 + i as f64);
            let constant = move |i: usize| Some(if late { 0.0 } else { i as f64 });
            let parts: [(&str, Values); 4] = [
                ("length", &length),
                ("tests", &tests),
                ("silent", &silent),
                ("constant", &constant),
            ];
            let response = |i: usize| match (late, i) {
                (true, 0) => " \n".to_owned(),
                (true, 1..=4) => "pass".to_owned(),
                _ => own(i),
            };
            let signs = look(&mut watch, &response, if late { 60 } else { 20 }, &parts);
            assert!(late || signs.warnings.is_empty(), "{:?}", signs.warnings);
            told.extend(signs.warnings);
        }
        let expected = [
            "the reward has 0.5 for a response that is known to be bad (`t/canary without a word`), and 0.25 for",
            "12 % of the responses are empty",
            "one response answers 50 % of the prompts: `pass`",
            "`silent` gave no reward for 2 of 8 responses: no",
            "`constant` has given 0 to every response of the last 5 steps: does it still run what it should?",
            "parts of the reward go apart: `length` went from 0.088 to",
            "responses have 44.0 tokens in the mean, after 20.0 at first",
        ];
        for expected in expected {
            let found = told.iter().filter(|told| told.starts_with(expected));
            assert_eq!(found.count(), 1, "{expected}: {told:?}");
        }
    }

    // Would catch a penalty that falls and is taken for a part that suffers, and a watch that
    // forgets when it is stored.
    #[test]
    fn it_goes_on_where_it_was() {
        let (mut watch, mut stored) = (Watch::default(), Watch::default());
        for step in 0..16 {
            let rise = f64::from(step) / 3.0;
            let (tests, penalty) = (around(rise), around(-rise));
            let parts: [(&str, Values); 2] = [("tests", &tests), ("penalty", &penalty)];
            let signs = look(&mut watch, &own, 20, &parts);
            assert_eq!(signs.warnings, Vec::<String>::new());
            assert_eq!(look(&mut stored, &own, 20, &parts), signs);
            let text = serde_json::to_string(&stored).expect("plain data");
            stored = serde_json::from_str(&text).expect("the same again");
            assert_eq!(stored, watch);
        }
    }
}
