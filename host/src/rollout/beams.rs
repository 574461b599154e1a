//! Beam search: the most likely responses to a prompt, as transformers 5.23 searches them
//! (`GenerationMixin._beam_search`).
//!
//! Every step extends the open beams by their best tokens. Of the best `num_beams` extensions
//! those that end are finished, scored by log-probability over length to the power of
//! `length_penalty`; the best that go on are the next beams.

use candle_core::{Result, bail};

use super::sampling::{penalise, see};
use super::{Event, FinishReason, Response, Stop, seen_in};
use crate::config::generation::{EarlyStopping, Generation};
use crate::models::{Cache, CausalLm};
use crate::ops::cross_entropy::log_sum_exp;
use crate::ops::matmul::SKINNY_ROWS_MAX;

/// Searches each prompt in turn.
pub(super) fn search_all(
    model: &dyn CausalLm,
    prompts: &[Vec<u32>],
    responses: usize,
    config: &Generation,
    stop: &Stop,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<Vec<Response>> {
    if responses > config.num_beams || config.num_beams > SKINNY_ROWS_MAX {
        bail!(
            "{responses} responses of a search with {} beams; beams are at most {SKINNY_ROWS_MAX}, and as many as responses",
            config.num_beams
        );
    }
    let mut done = Vec::new();
    for (number, prompt) in prompts.iter().enumerate() {
        let mut search = Search::new(prompt, config, stop, model.context());
        search.run(model, &mut || observe(Event::Step { done: done.len() }))?;
        for (sample, beam) in search.finished.into_iter().take(responses).enumerate() {
            let finish = beam.finish.unwrap_or(FinishReason::Length);
            done.push(Response {
                prompt: number,
                sample,
                sampling_logprobs: vec![0.0; beam.ids.len()],
                ids: beam.ids,
                logprobs: beam.logprobs,
                finish,
            });
        }
        if !observe(Event::Step { done: done.len() }) {
            break;
        }
    }
    Ok(done)
}

/// A response that is being searched.
#[derive(Clone, Debug)]
struct Beam {
    ids: Vec<u32>,
    /// Of the model itself.
    logprobs: Vec<f32>,
    /// Sum of the log-probabilities after the penalty; over a power of the length once finished.
    score: f32,
    finish: Option<FinishReason>,
    /// Tokens of prompt and response, where a penalty looks at them.
    seen: Vec<u32>,
    /// The cache row that holds all but its last token.
    slot: usize,
}

/// A token after a beam.
struct Candidate {
    beam: usize,
    id: u32,
    score: f32,
    logprob: f32,
}

struct Search<'a> {
    prompt: &'a [u32],
    config: &'a Generation,
    stop: &'a Stop<'a>,
    /// Tokens of a response at most.
    length_max: usize,
    open: Vec<Beam>,
    /// The best first; at most as many as beams.
    finished: Vec<Beam>,
    /// Whether an open beam may still be better than a finished one.
    may_improve: bool,
}

impl<'a> Search<'a> {
    fn new(prompt: &'a [u32], config: &'a Generation, stop: &'a Stop<'a>, context: usize) -> Self {
        let first = Beam {
            ids: Vec::new(),
            logprobs: Vec::new(),
            score: 0.0,
            finish: None,
            seen: seen_in(prompt, config),
            slot: 0,
        };
        Self {
            prompt,
            config,
            stop,
            length_max: config.max_new_tokens.min(context - prompt.len()),
            open: vec![first],
            finished: Vec::new(),
            may_improve: true,
        }
    }

    fn run(&mut self, model: &dyn CausalLm, go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let capacity = self.prompt.len() + self.length_max;
        let mut cache = model.cache(self.config.num_beams, capacity)?;
        let mut logits = model
            .prefill(&mut cache, &[(0, self.prompt)])?
            .squeeze(0)?
            .to_vec1::<f32>()?;
        loop {
            let next = self.step(&logits, model.vocabulary());
            let all_ended = next.is_empty();
            self.advance(next, &mut cache)?;
            if self.is_over(all_ended) || !go_on() {
                return Ok(());
            }
            let slots: Vec<usize> = self.open.iter().map(|beam| beam.slot).collect();
            let last = |beam: &Beam| *beam.ids.last().expect("an advanced beam has a token");
            let ids: Vec<u32> = self.open.iter().map(last).collect();
            logits = model
                .decode(&mut cache, &slots, &ids)?
                .flatten_all()?
                .to_vec1()?;
        }
    }

    /// Finishes the beams that end, and returns the extensions that go on.
    fn step(&mut self, logits: &[f32], vocabulary: usize) -> Vec<Candidate> {
        let beams = self.config.num_beams;
        let best = self.best(
            logits,
            vocabulary,
            beams * (self.stop.tokens.len() + 1).max(2),
        );
        // What was finished before this step decides, not in which order its own ends come.
        let closed = self.is_full() && self.config.early_stopping == EarlyStopping::Yes;
        let accepts = self.may_improve && !closed;
        let mut next = Vec::with_capacity(beams);
        for (rank, candidate) in best.into_iter().enumerate() {
            let from = &self.open[candidate.beam];
            let mut ids = from.ids.clone();
            ids.push(candidate.id);
            let full = ids.len() >= self.length_max;
            let finish = self
                .stop
                .reason(&ids)
                .or(full.then_some(FinishReason::Length));
            match finish {
                None if next.len() < beams => next.push(candidate),
                // An end that is not among the best extensions is no response worth keeping.
                Some(_) if rank < beams && accepts => self.finish(ids, candidate, finish),
                _ => {}
            }
        }
        // Stable: what was finished first stays before its equals.
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(beams);
        next
    }

    /// The `count` best extensions, the best first.
    fn best(&self, logits: &[f32], vocabulary: usize, count: usize) -> Vec<Candidate> {
        let mut all = Vec::with_capacity(self.open.len() * vocabulary);
        let mut scores = vec![0.0; vocabulary];
        for (number, (beam, logits)) in self.open.iter().zip(logits.chunks(vocabulary)).enumerate()
        {
            let normaliser = log_sum_exp(logits);
            for (score, logit) in scores.iter_mut().zip(logits) {
                *score = logit - normaliser;
            }
            // On log-probabilities, which are all negative: a penalty above 1 lowers every one.
            penalise(
                &mut scores,
                &beam.seen,
                self.config.repetition_penalty as f32,
            );
            all.extend((0..).zip(&scores).map(|(id, score)| Candidate {
                beam: number,
                id,
                score: beam.score + score,
                logprob: logits[id as usize] - normaliser,
            }));
        }
        let order = |a: &Candidate, b: &Candidate| {
            b.score
                .total_cmp(&a.score)
                .then((a.beam, a.id).cmp(&(b.beam, b.id)))
        };
        if count < all.len() {
            all.select_nth_unstable_by(count, order);
            all.truncate(count);
        }
        all.sort_unstable_by(order);
        all
    }

    fn is_full(&self) -> bool {
        self.finished.len() >= self.config.num_beams
    }

    fn finish(&mut self, ids: Vec<u32>, candidate: Candidate, finish: Option<FinishReason>) {
        let from = &self.open[candidate.beam];
        let mut logprobs = from.logprobs.clone();
        logprobs.push(candidate.logprob);
        self.finished.push(Beam {
            score: candidate.score / self.divisor(ids.len()),
            ids,
            logprobs,
            finish,
            seen: Vec::new(),
            slot: from.slot,
        });
    }

    fn divisor(&self, length: usize) -> f32 {
        (length as f64).powf(self.config.length_penalty) as f32
    }

    /// Makes the extensions the open beams. The first of a beam keeps its cache row, the others
    /// copy it to rows of beams that nobody extends.
    fn advance(&mut self, next: Vec<Candidate>, cache: &mut Cache) -> Result<()> {
        let mut kept = vec![false; self.open.len()];
        for candidate in &next {
            kept[candidate.beam] = true;
        }
        let used = |slot: &usize| {
            self.open
                .iter()
                .zip(&kept)
                .any(|(b, kept)| *kept && b.slot == *slot)
        };
        let mut free: Vec<usize> = (0..self.config.num_beams)
            .filter(|slot| !used(slot))
            .collect();
        let mut beams = Vec::with_capacity(next.len());
        for candidate in next {
            let from = &self.open[candidate.beam];
            let mut beam = from.clone();
            if !std::mem::take(&mut kept[candidate.beam]) {
                beam.slot = free.pop().expect("there are as many rows as beams");
                cache.copy_row(from.slot, beam.slot)?;
            }
            beam.ids.push(candidate.id);
            beam.logprobs.push(candidate.logprob);
            beam.score = candidate.score;
            if self.config.repetition_penalty != 1.0 {
                see(&mut beam.seen, candidate.id);
            }
            beams.push(beam);
        }
        self.open = beams;
        Ok(())
    }

    /// Whether the search is over, after a step.
    fn is_over(&mut self, all_ended: bool) -> bool {
        let Some(best) = self.open.first() else {
            return true;
        };
        if self.is_full() {
            let reaches_for_length = self.config.early_stopping == EarlyStopping::Never
                && self.config.length_penalty > 0.0;
            let length = match reaches_for_length {
                true => self.length_max,
                false => best.ids.len(),
            };
            let possible = best.score / self.divisor(length);
            let worst = self
                .finished
                .last()
                .map_or(f32::NEG_INFINITY, |beam| beam.score);
            self.may_improve &= possible > worst;
            if self.config.early_stopping == EarlyStopping::Yes {
                return true;
            }
        }
        all_ended || !self.may_improve
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::ops::testing::device;
    use serde_json::Value;

    use super::*;
    use crate::models;
    use crate::rollout::{generate, logprobs};

    fn ids(value: &Value) -> Vec<u32> {
        let all = value.as_array().into_iter().flatten();
        all.map(|id| id.as_u64().expect("an id") as u32).collect()
    }

    // Would catch beams that are kept, ended, scored or ordered otherwise than transformers does,
    // and cache rows that are mixed up. Scores: sums of twelve f32, tolerance 1e-4.
    #[test]
    fn searches_are_transformers() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let text = std::fs::read_to_string(golden.join("generation/expected.json"));
        let expected: Value = serde_json::from_str(&text.expect("golden file")).expect("JSON");
        let mut loaded = std::collections::BTreeMap::new();
        let mut cases = 0;
        for case in expected["beams"].as_array().expect("cases") {
            let name = case["model"].as_str().expect("a name");
            let folder = golden.join("models").join(name);
            let model = loaded
                .entry(name)
                .or_insert_with(|| models::load(&folder, &device()).ok());
            // Each architecture joins when it can be loaded.
            let Some(model) = model else { continue };
            let options = &case["options"];
            let number = |key: &str, default: f64| options[key].as_f64().unwrap_or(default);
            let config = Generation {
                max_new_tokens: number("max_new_tokens", 12.0) as usize,
                num_beams: number("num_beams", 1.0) as usize,
                length_penalty: number("length_penalty", 1.0),
                repetition_penalty: number("repetition_penalty", 1.0),
                early_stopping: match &options["early_stopping"] {
                    Value::Bool(true) => EarlyStopping::Yes,
                    Value::String(_) => EarlyStopping::Never,
                    _ => EarlyStopping::No,
                },
                ..Generation::default()
            };
            let stops = match &options["eos_token_id"] {
                Value::Array(_) => ids(&options["eos_token_id"]),
                one => vec![one.as_u64().expect("an id") as u32],
            };
            let sequences = case["sequences"].as_array().expect("sequences");
            let prompt = ids(&case["prompt"]);
            let found = generate(
                model,
                std::slice::from_ref(&prompt),
                sequences.len(),
                &config,
                &Stop::tokens(&stops),
                0,
                &mut |_| true,
            )
            .expect("searches");
            let what = format!("{name}: {options}");
            assert_eq!(found.len(), sequences.len(), "{what}");
            for (found, sequence) in found.iter().zip(sequences) {
                assert_eq!(found.ids, ids(&sequence["ids"]), "{what}");
                let again = logprobs::response_logprobs(model, &prompt, &[&found.ids]);
                for (a, b) in found.logprobs.iter().zip(&again.expect("computes")[0]) {
                    assert!((a - b).abs() < 1e-4, "{what}: {a} {b}");
                }
                if config.repetition_penalty == 1.0 {
                    let sum: f32 = found.logprobs.iter().sum();
                    let divisor = (found.ids.len() as f64).powf(config.length_penalty);
                    let score = sequence["score"].as_f64().expect("a score");
                    let ours = f64::from(sum) / divisor;
                    assert!(
                        (ours - score).abs() < 1e-4 * score.abs().max(1.0),
                        "{what}: {ours} {score}"
                    );
                }
            }
            cases += 1;
        }
        assert!(cases >= 26, "{cases}");
    }

    // Would catch more responses than a search has, handed out as if they were found.
    #[test]
    fn responses_are_at_most_the_beams() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models/tiny-llama");
        let model = models::load(&folder, &device()).expect("loads");
        let config = Generation {
            num_beams: 2,
            ..Generation::default()
        };
        let stop = Stop::tokens(&[2]);
        let error = generate(&model, &[vec![5]], 3, &config, &stop, 0, &mut |_| true);
        assert!(
            error
                .expect_err("refused")
                .to_string()
                .contains("3 responses")
        );
    }
}
