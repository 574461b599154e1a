#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`metric`] | [`Metric`], [`AdditiveMetric`], [`CorpusMetric`] |
//! | [`reward_shaper`] | [`RewardShaper`] |
//! | [`data_adapter`] | [`DataAdapter`] |
//! | [`code_runner`] | [`CodeRunner`] |
//! | [`host`] | what a plugin can call: [`host::log`], [`host::encoder`], [`host::sandbox`], [`host::folder`] |
//! | [`options`] | how options are parsed |
//! | [`records`] | for adapters: which columns make which record |
//! | [`testing`] | golden cases, natively |
#![warn(missing_docs)]

pub mod code_runner;
mod conversations;
pub mod data_adapter;
pub mod host;
pub mod metric;
pub mod options;
pub mod records;
pub mod reward_shaper;
pub mod testing;

#[cfg(any(test, all(feature = "allocator", target_family = "wasm")))]
mod allocator;
#[doc(hidden)]
pub mod bindings;
mod component;
mod task_tests;
mod types;

pub use code_runner::{CodeRunner, RunnerDescriptor, Value};
pub use data_adapter::{
    AdapterDescriptor, Content, DataAdapter, Origin, ReadError, Row, RowError, Source,
};
pub use host::log;
pub use metric::{
    AdditiveMetric, CorpusMetric, Headline, Level, Metric, MetricDescriptor, Need, Score,
};
pub use options::NoOptions;
pub use reward_shaper::{Context, Execution, Reward, RewardShaper, Rollout, ShaperDescriptor};
pub use types::{Error, NamedValue, Outcome, Sample};

#[cfg(all(
    feature = "allocator",
    target_family = "wasm",
    not(target_feature = "atomics")
))]
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator::new();

/// For the export macros. Anything in here may change in any release.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::code_runner::Implementation as RunnerImplementation;
    pub use crate::component::{Holder, Slot};
    pub use crate::data_adapter::{Implementation as AdapterImplementation, Reading};
    pub use crate::metric::{Additive, Implementation as MetricImplementation, Mean, Whole};
    pub use crate::reward_shaper::{Implementation as ShaperImplementation, Shaping};
}
