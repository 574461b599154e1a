//! Returns statistics that are no numbers.
//!
//! Written against the bindings, since the SDK would notice first.

use rlhf_sdk::__private::bindings::host::rlhf::plugin::types::{Error, Sample};
use rlhf_sdk::__private::bindings::metric::exports::rlhf::plugin::metric::{
    Descriptor, Guest, Level, MetricScore,
};

struct Raw;

impl Guest for Raw {
    fn describe() -> Descriptor {
        Descriptor {
            name: "nan".into(),
            version: "0.1.0".into(),
            summary: "misbehaves on the sample `bad`".into(),
            minimum: 0.0,
            maximum: 1.0,
            higher_is_better: true,
            unit: String::new(),
            components: Vec::new(),
            aggregation: "additive".into(),
            headline: "mean".into(),
            statistics_length: 1,
            needs: Vec::new(),
            citation: String::new(),
            signature: String::new(),
            extra: Vec::new(),
        }
    }

    fn configure(_: String) -> Result<(), Error> {
        Ok(())
    }

    fn measure(samples: Vec<Sample>) -> Vec<Result<Vec<f64>, Error>> {
        samples
            .iter()
            .map(|sample| Ok(vec![if sample.id == "bad" { f64::NAN } else { 0.5 }]))
            .collect()
    }

    fn score(statistics: Vec<Vec<f64>>, _: Level) -> Vec<Result<MetricScore, Error>> {
        let score = |vector: &Vec<f64>| MetricScore {
            value: vector[0],
            components: Vec::new(),
            extra: Vec::new(),
        };
        statistics.iter().map(|vector| Ok(score(vector))).collect()
    }

    fn score_corpus(_: Vec<Sample>) -> Result<MetricScore, Error> {
        Err(Error {
            code: "not-whole".into(),
            message: "an additive metric".into(),
        })
    }
}

rlhf_sdk::__private::bindings::metric::export!(Raw);
