//! Every mistake that a metric's author makes: it divides by the length of the
//! response, counts its calls, and has options that it doesn't look at.

use std::cell::Cell;

use rlhf_sdk::{Error, Metric, MetricDescriptor, Sample, Score};

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// Takes whatever comes.
#[derive(Default, serde::Deserialize)]
struct Options {
    #[serde(flatten)]
    _rest: std::collections::BTreeMap<String, serde_json::Value>,
}

struct Fragile;

impl Metric for Fragile {
    type Options = Options;

    fn new(_: Options) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> MetricDescriptor {
        MetricDescriptor::new("fragile", "0.1.0", "makes every mistake")
    }

    fn score(&self, sample: &Sample) -> Result<Score, Error> {
        assert!(!sample.response.is_empty(), "nothing to divide by");
        let calls = CALLS.with(|calls| {
            calls.set(calls.get() + 1);
            calls.get()
        });
        Ok(Score::new(1.0 / f64::from(calls)))
    }
}

rlhf_sdk::export_metric!(Fragile);
