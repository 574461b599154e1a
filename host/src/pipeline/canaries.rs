//! Programs that are known to be bad, scored with every batch: a metric that gives one of them
//! full marks would teach the policy to write it, and so would a reward that has more for one of
//! them than for the task's own answer.

use super::samples::Judge;
use super::{Error, Plan};
use crate::config::Config;
use crate::data::sources::Adapters;
use crate::data::{Demonstration, Task};
use crate::evaluate;
use crate::plugin::reward_shaper::Rollout;
use crate::plugin::{Metric, Sample};
use crate::reward::watch::Control;
use crate::sandbox::demo::FORGERIES;

/// What the programs of the demonstration call their function, and its parameters.
const DEMONSTRATED: &str = "double(n)";

/// The user's own canaries, each a response to a task.
#[derive(Clone, Debug, Default)]
pub struct Canaries(Vec<Sample>);

impl Canaries {
    /// Reads `data.canary_path`; a row's tests and references are those of the task with its prompt.
    ///
    /// # Errors
    /// The file can't be read, has no responses, or has a prompt that no task has.
    pub fn read(
        config: &Config,
        adapters: Option<&Adapters>,
        tasks: &[&Task],
    ) -> Result<Self, Error> {
        let (Some(path), Some(adapters)) = (&config.data.canary_path, adapters) else {
            return Ok(Self::default());
        };
        let columns: Vec<(String, String)> = config.data.columns.clone().into_iter().collect();
        let data = adapters.read(path, &columns, config.data.on_bad_row)?;
        let wrong = |problem: String| {
            Error::Input(format!(
                "canaries `{}`: {problem}\nhint: a row has prompt,response: the prompt of a task, and a response that must not pass",
                path.display()
            ))
        };
        if data.demonstrations.is_empty() {
            return Err(wrong(format!("found {}, no responses", data.summary())));
        }
        let sample = |(at, row): (usize, &Demonstration)| {
            let prompt = row.prompt.trim_end();
            let task = tasks.iter().find(|task| task.prompt.trim_end() == prompt);
            let task = task.ok_or_else(|| wrong(format!("no task has the prompt `{prompt}`")))?;
            Ok(sample_of(
                task,
                &format!("{}", at + 1),
                row.response.clone(),
            ))
        };
        let samples: Result<Vec<Sample>, Error> =
            data.demonstrations.iter().enumerate().map(sample).collect();
        samples.map(Self)
    }

    /// For the plan.
    pub fn describe(&self) -> Option<String> {
        let count = self.0.len();
        (count > 0).then(|| format!("canaries   {count} responses that must not pass"))
    }
}

fn sample_of(task: &Task, name: &str, response: String) -> Sample {
    Sample {
        id: format!("{}/canary {name}", task.id),
        prompt: task.prompt.clone(),
        response,
        references: task.references.clone(),
        language: "python".to_owned(),
        tests: task.tests.clone(),
    }
}

/// The function that a task asks for: the last one that its prompt begins, else the last of its
/// reference.
fn function(task: &Task) -> Option<&str> {
    let last = |text: &'_ str| -> Option<(usize, usize)> {
        let begins = text
            .rmatch_indices("def ")
            .find(|(at, _)| *at == 0 || text.as_bytes()[at - 1] == b'\n')?;
        let start = begins.0 + "def ".len();
        let length = text[start..].find('(')?;
        Some((start, start + length))
    };
    let texts = std::iter::once(&task.prompt).chain(task.references.first());
    let mut names = texts.filter_map(|text| last(text).map(|(from, to)| text[from..to].trim()));
    names.find(|name| !name.is_empty())
}

/// Programs that do nothing, and those that forge a verdict, as answers to `task`.
fn built_in(task: &Task) -> (Vec<Sample>, Vec<Sample>) {
    let mut canaries = vec![sample_of(task, "without a word", String::new())];
    let mut forgeries = Vec::new();
    if let Some(name) = function(task) {
        let body = format!("def {name}(*given, **named):\n    pass\n");
        canaries.push(sample_of(task, "without a body", body));
        for forgery in &FORGERIES {
            let program = forgery
                .program
                .replace(DEMONSTRATED, &format!("{name}(*given, **named)"));
            forgeries.push(sample_of(task, forgery.name, program));
        }
    }
    (canaries, forgeries)
}

/// Whether a score is the best that a metric can give.
fn is_best(metric: &Metric, value: f64) -> bool {
    let descriptor = metric.descriptor();
    match descriptor.higher_is_better {
        true => value >= descriptor.maximum,
        false => value <= descriptor.minimum,
    }
}

impl Plan {
    /// Metrics that decide about the reward: its parts, and what its shapers ask for.
    fn deciding_metrics(&self) -> impl Iterator<Item = &Metric> {
        let decides = move |metric: &&Metric| {
            let needed = |needs: &[String]| needs.iter().any(|name| name == metric.name());
            let shapers = &self.plugins.shapers;
            let mut parts = self.plugins.reward_parts().into_iter();
            parts.any(|part| part.name == metric.name())
                || shapers
                    .iter()
                    .any(|s| needed(&s.descriptor().needs_metrics))
        };
        self.plugins.metrics.iter().filter(decides)
    }
}

impl Judge<'_> {
    /// Scores the canaries that belong to a batch about `tasks`: with each metric that decides
    /// about the reward, and, but for programs that only want a forged verdict, with the whole
    /// reward beside the tasks' own answers. The canary that comes closest to its answer, or
    /// beats it, where the tasks have any.
    ///
    /// # Errors
    /// One has full marks from a metric.
    pub(super) fn check_canaries(
        &self,
        step: u64,
        tasks: &[&Task],
    ) -> Result<Option<Control>, Error> {
        let plan = self.plan;
        if !plan.config.rollout.canaries {
            return Ok(None);
        }
        let tested = tasks.iter().find(|task| !task.tests.is_empty());
        let (mut samples, forgeries) = tested
            .or(tasks.first())
            .map_or_else(Default::default, |task| built_in(task));
        samples.extend(plan.canaries.0.iter().cloned());
        let honest = samples.len();
        samples.extend(forgeries);
        for metric in plan.deciding_metrics() {
            let scores = evaluate::score(metric, &samples).per_sample;
            let passed = samples.iter().zip(scores).find_map(|(sample, score)| {
                let value = score.ok()?.value;
                is_best(metric, value).then_some((sample, value))
            });
            if let Some((sample, value)) = passed {
                return Err(Error::Canary {
                    step,
                    part: metric.name().to_owned(),
                    value,
                    canary: sample.id.clone(),
                    response: sample.response.clone(),
                });
            }
        }
        samples.truncate(honest);
        self.against_answers(step, &samples)
    }

    fn against_answers(&self, step: u64, canaries: &[Sample]) -> Result<Option<Control>, Error> {
        let answered = canaries.iter().filter(|c| !c.references.is_empty());
        let mut samples = Vec::new();
        for canary in answered {
            let answer = Sample {
                id: format!("{} answered", canary.id),
                response: canary.references[0].clone(),
                ..canary.clone()
            };
            // An empty answer can't be beaten by an empty canary.
            if answer.response.trim() != canary.response.trim() {
                samples.extend([canary.clone(), answer]);
            }
        }
        if samples.is_empty() {
            return Ok(None);
        }
        let mut rollouts = Vec::with_capacity(samples.len());
        for sample in samples {
            let ids = self.tokenizer.encode(&sample.response)?;
            rollouts.push(Rollout {
                tokens: ids
                    .iter()
                    .map(|id| self.tokenizer.token_text(*id))
                    .collect(),
                finish_reason: "stop".to_owned(),
                sample,
                ..Rollout::default()
            });
        }
        let judged = match self.plan.judging().judge(step, rollouts, self.reward_model) {
            Ok(judged) => judged,
            // A part that will not judge what is bad gives no reward for it.
            Err(Error::Abort(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let totals = judged.rewards.totals.chunks(2);
        let controls = totals
            .zip(judged.rollouts.chunks(2))
            .filter_map(|(totals, rollouts)| {
                Some(Control {
                    canary: rollouts[0].sample.id.clone(),
                    bad: totals[0]?,
                    good: totals[1]?,
                })
            });
        // The first of equals, so that equal runs say the same.
        Ok(
            controls.reduce(|least, other| match other.margin() < least.margin() {
                true => other,
                false => least,
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prompt: &str, reference: &str, expected: Option<&str>) {
        let task = Task {
            id: "t".into(),
            prompt: prompt.into(),
            references: vec![reference.into()],
            tests: Vec::new(),
        };
        assert_eq!(function(&task), expected, "{prompt}");
    }

    // Would catch canaries that answer with a function that nobody asked for.
    #[test]
    fn functions_are_found() {
        check(
            "# A function solve.\n",
            "def solve(s):\n    return s",
            Some("solve"),
        );
        check(
            "def help(a): pass\n\ndef asked(b):\n    '''x'''\n",
            "",
            Some("asked"),
        );
        check("say hello", "print('hello')", None);
        check("undef x(", "class A:\n    def f(self): pass", None);
    }

    // Would catch a program of the demonstration that is called otherwise than here.
    #[test]
    fn each_forgery_answers_the_task() {
        let task = Task {
            id: "t".into(),
            prompt: "# solve\n".into(),
            references: vec!["def solve(s):\n    return s".into()],
            tests: Vec::new(),
        };
        let (canaries, forgeries) = built_in(&task);
        assert_eq!((canaries.len(), forgeries.len()), (2, FORGERIES.len()));
        for canary in canaries[1..].iter().chain(&forgeries) {
            assert!(
                canary.response.contains("def solve(*given, **named):"),
                "{}",
                canary.id
            );
        }
    }
}
