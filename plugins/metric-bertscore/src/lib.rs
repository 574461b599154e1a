#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use std::collections::HashMap;

use rlhf_sdk::host::{self, Embeddings, Encoder, Matching};
use rlhf_sdk::{Error, Headline, Metric, MetricDescriptor, Need, Sample, Score, export_metric};
use serde::Deserialize;

/// Texts whose embeddings are held at once; the host allows 1024.
const TEXTS_MAX: usize = 512;

/// Options as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether rare tokens weigh more: inverse document frequencies over the references of the
    /// whole set; default false.
    pub idf: bool,
}

/// BERTScore with its options settled.
#[derive(Debug)]
pub struct BertScore {
    idf: bool,
}

impl Metric for BertScore {
    type Options = Options;

    fn new(options: Options) -> Result<Self, Error> {
        Ok(Self { idf: options.idf })
    }

    fn describe(&self) -> MetricDescriptor {
        let descriptor = MetricDescriptor::new(
            "bertscore",
            env!("CARGO_PKG_VERSION"),
            "how well the tokens of response and reference match by the cosine of their embeddings",
        )
        .components(["precision", "recall", "f1"])
        .headline(Headline::Mean)
        .needs([Need::References])
        .citation("Zhang et al. 2020, https://arxiv.org/abs/1904.09675")
        .signature(if self.idf { "idf:yes" } else { "idf:no" });
        if self.idf {
            descriptor.fit_references()
        } else {
            descriptor
        }
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        let mut scores = self.score_all(std::slice::from_ref(sample));
        scores.pop().expect("one sample has one score")
    }

    fn score_all(&self, samples: &[Sample]) -> Vec<Result<Score, Error>> {
        let encoder = match host::encoder() {
            Ok(encoder) => encoder,
            Err(error) => return samples.iter().map(|_| Err(error.clone())).collect(),
        };
        blocks(samples)
            .flat_map(|block| score_block(&encoder, block))
            .collect()
    }
}

/// Samples of which all texts can be held at once; one by itself where it has too many.
fn blocks(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    let mut rest = samples;
    std::iter::from_fn(move || {
        let mut texts = 0;
        let fits = rest.iter().take_while(|sample| {
            texts += 1 + sample.references.len();
            texts <= TEXTS_MAX
        });
        let count = fits.count().max(1).min(rest.len());
        let (block, behind) = rest.split_at(count);
        rest = behind;
        (!block.is_empty()).then_some(block)
    })
}

/// Scores of the samples of a block; each text is encoded once.
fn score_block(encoder: &Encoder, samples: &[Sample]) -> Vec<Result<Score, Error>> {
    let mut at: HashMap<&str, usize> = HashMap::new();
    let mut texts: Vec<String> = Vec::new();
    for sample in samples {
        for text in std::iter::once(&sample.response).chain(&sample.references) {
            at.entry(text).or_insert_with(|| {
                texts.push(text.clone());
                texts.len() - 1
            });
        }
    }
    let embedded = match encoder.encode(&texts) {
        Ok(embedded) => embedded,
        Err(error) => return samples.iter().map(|_| Err(error.clone())).collect(),
    };
    let of = |text: &String| -> &Embeddings { &embedded[at[text.as_str()]] };
    let score = |sample: &Sample| {
        let candidate = of(&sample.response);
        let matches: Result<Vec<Matching>, Error> = sample
            .references
            .iter()
            .map(|reference| encoder.matches(candidate, of(reference)))
            .collect();
        best(&matches?)
    };
    samples.iter().map(score).collect()
}

/// With several references precision, recall and F1 are the best ones, each by itself.
fn best(matches: &[Matching]) -> Result<Score, Error> {
    let largest = |of: fn(&Matching) -> f64| matches.iter().map(of).fold(f64::MIN, f64::max);
    if matches.is_empty() {
        return Err(Error::new(
            "no-references",
            "expected at least one reference, found none",
        ));
    }
    let f1 = largest(|one| one.f1);
    Ok(Score::new(f1)
        .component("precision", largest(|one| one.precision))
        .component("recall", largest(|one| one.recall))
        .component("f1", f1))
}

export_metric!(BertScore);

#[cfg(test)]
mod tests {
    use super::*;

    // Would catch the best pair taken as a whole, where bert-score takes each number's best.
    #[test]
    fn each_number_is_the_best_by_itself() {
        let pair = |precision, recall, f1| Matching {
            precision,
            recall,
            f1,
        };
        let score = best(&[pair(0.9, 0.1, 0.18), pair(0.5, 0.6, 0.545)]).expect("two references");
        let parts: Vec<f64> = score.components.iter().map(|part| part.value).collect();
        assert_eq!((score.value, parts), (0.545, vec![0.9, 0.6, 0.545]));
        assert_eq!(best(&[]).expect_err("none").code, "no-references");
    }

    // Would catch a block that holds more than the host allows, and samples that are lost.
    #[test]
    fn blocks_hold_what_fits() {
        let sample = |references: usize| Sample::new("x", vec!["y"; references]);
        let samples: Vec<Sample> = [300, 300, 100, 2000, 1].map(sample).into();
        let lengths: Vec<usize> = blocks(&samples).map(<[Sample]>::len).collect();
        assert_eq!(lengths, [1, 2, 1, 1]);
        assert_eq!(blocks(&[]).count(), 0);
    }

    // Would catch a score without an encoder.
    #[test]
    fn no_encoder_is_a_failure() {
        let metric = BertScore::new(Options::default()).expect("defaults");
        let error = metric.score(&Sample::new("x", ["y"])).expect_err("native");
        assert_eq!(error.code, "unavailable");
    }

    // Would catch idf over whatever the plugin happens to see at once.
    #[test]
    fn only_idf_asks_for_the_whole_set() {
        let extra = |idf| BertScore { idf }.describe().extra;
        assert_eq!(extra(false), []);
        assert_eq!(extra(true), [("fit".to_owned(), "references".to_owned())]);
    }
}
