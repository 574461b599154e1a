//! An honest metric, written against the bindings, since the SDK would not let
//! a guest do most of what the guests here do. A guest is honest but for the
//! functions of [`Behaviour`] that it writes anew.

#![allow(dead_code, unused_imports, unused_macros)]

pub use rlhf_sdk::__private::bindings::host::rlhf::plugin::types::{Error, NamedValue, Sample};
pub use rlhf_sdk::__private::bindings::metric::exports::rlhf::plugin::metric::{
    Descriptor, Guest, Level, MetricScore,
};

pub trait Behaviour {
    fn describe() -> Descriptor {
        descriptor()
    }

    fn configure(options: String) -> Result<(), Error> {
        remember(options);
        Ok(())
    }

    /// Of a sample that isn't `bad`, always the same.
    fn statistics(sample: &Sample) -> Result<Vec<f64>, Error> {
        let _ = sample;
        Ok(vec![0.5])
    }

    fn measure(samples: Vec<Sample>) -> Vec<Result<Vec<f64>, Error>> {
        samples.iter().map(Self::statistics).collect()
    }

    fn score(statistics: &[f64]) -> Result<MetricScore, Error> {
        Ok(score(statistics[0]))
    }
}

static OPTIONS: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());

pub fn remember(options: String) {
    *OPTIONS.lock().unwrap() = options;
}

/// The option `how`; empty where there is none.
pub fn how() -> String {
    let options = OPTIONS.lock().unwrap();
    let options: serde_json::Value = serde_json::from_str(&options).unwrap_or_default();
    options["how"].as_str().unwrap_or_default().to_owned()
}

pub fn is_bad(sample: &Sample) -> bool {
    sample.id == "bad"
}

pub fn error(code: &str, message: impl Into<String>) -> Error {
    Error {
        code: code.into(),
        message: message.into(),
    }
}

pub fn score(value: f64) -> MetricScore {
    MetricScore {
        value,
        components: Vec::new(),
        extra: Vec::new(),
    }
}

pub fn descriptor() -> Descriptor {
    Descriptor {
        name: "honest".into(),
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

/// Exports a type with a [`Behaviour`].
macro_rules! export {
    ($guest:ident) => {
        impl $crate::honest::Guest for $guest {
            fn describe() -> $crate::honest::Descriptor {
                <$guest as $crate::honest::Behaviour>::describe()
            }

            fn configure(options: String) -> Result<(), $crate::honest::Error> {
                <$guest as $crate::honest::Behaviour>::configure(options)
            }

            fn measure(
                samples: Vec<$crate::honest::Sample>,
            ) -> Vec<Result<Vec<f64>, $crate::honest::Error>> {
                <$guest as $crate::honest::Behaviour>::measure(samples)
            }

            fn score(
                statistics: Vec<Vec<f64>>,
                _: $crate::honest::Level,
            ) -> Vec<Result<$crate::honest::MetricScore, $crate::honest::Error>> {
                statistics
                    .iter()
                    .map(|vector| <$guest as $crate::honest::Behaviour>::score(vector))
                    .collect()
            }

            fn score_corpus(
                _: Vec<$crate::honest::Sample>,
            ) -> Result<$crate::honest::MetricScore, $crate::honest::Error> {
                Err($crate::honest::error("not-whole", "an additive metric"))
            }
        }

        rlhf_sdk::__private::bindings::metric::export!($guest);
    };
}

pub(crate) use export;
