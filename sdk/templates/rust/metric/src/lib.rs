//! The metric as the host sees it; the formula is in `similarity.rs`.

pub mod similarity;

use rlhf_sdk::{Error, Headline, Metric, MetricDescriptor, Need, Sample, Score};

use similarity::Similarity;

impl Metric for Similarity {
    type Options = Similarity;

    fn new(options: Similarity) -> Result<Self, Error> {
        Ok(options)
    }

    fn describe(&self) -> MetricDescriptor {
        let summary = "1 - edit distance / length of the longer text, to the nearest reference";
        MetricDescriptor::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
            .needs([Need::References])
            .headline(Headline::Mean)
            .signature(self.signature())
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        let value = self.to_nearest(&sample.response, &sample.references);
        value.map(Score::new).ok_or_else(|| no_reference(sample))
    }
}

rlhf_sdk::export_metric!(Similarity);

fn no_reference(sample: &Sample) -> Error {
    let id = &sample.id;
    let message = format!("sample `{id}`: expected at least one reference, found none");
    Error::new("missing-field", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches values, an option not obeyed and error codes other than those in the file.
    #[test]
    fn golden_cases() {
        rlhf_sdk::testing::check_metric::<Similarity>("golden/cases.jsonl");
    }

    // Catches a message that doesn't say which sample is at fault.
    #[test]
    fn a_sample_without_references_is_named() {
        let mut sample = Sample::new("a", Vec::<String>::new());
        sample.id = "7".into();
        let error = Similarity::default().score(&sample).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sample `7`: expected at least one reference, found none"
        );
    }
}
