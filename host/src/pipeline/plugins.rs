//! The plugins of a run: found, checked and configured before any model is loaded.

use std::sync::Arc;

use super::completions::Hashes;
use super::programs::services;
use super::{EncoderChoice, Error};
use crate::config::{self, Config, Method};
use crate::plugin::{
    self, CodeRunner, Component, DataAdapter, Kind, Metric, RewardShaper, Runtime, Services, Spec,
};
use crate::report::manifest::PluginPin;
use crate::reward;

/// The metric that executes a task's tests.
pub const TESTS: &str = "unit-tests";

/// Components that a run was given or needs, ready for work.
pub struct Plugins {
    pub metrics: Vec<Metric>,
    pub shapers: Vec<RewardShaper>,
    /// Given by the user; they go before the shipped ones.
    pub adapters: Vec<DataAdapter>,
    /// Metrics that have a target and can't be computed, with the reason.
    pub not_computed: Vec<(String, String)>,
    /// Each with its name and signature.
    pub pins: Vec<PluginPin>,
    /// What the user should know of what is used in place of something else.
    pub warnings: Vec<String>,
    /// Parts of the reward.
    shares: Vec<Share>,
    /// For plugins that are loaded later.
    services: Services,
}

/// A metric or shaper as a part of the reward.
struct Share {
    name: String,
    weight: f64,
    clip: Option<f64>,
}

impl Share {
    fn whole(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            weight: 1.0,
            clip: None,
        }
    }
}

/// What tasks have to rank responses by, where the user says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rankable {
    pub tests: bool,
    pub references: bool,
}

impl Plugins {
    /// Loads what the user named, then what the configuration needs beside it.
    ///
    /// # Errors
    /// One of them can't be used, or two have the same name.
    pub fn load(runtime: &Arc<Runtime>, config: &Config, specs: &[Spec]) -> Result<Self, Error> {
        let encoder = EncoderChoice::of(config);
        let mut plugins = Self::given(runtime, specs, &config.sandbox, encoder)?;
        plugins.add_configured(runtime, config)?;
        Ok(plugins)
    }

    /// Loads what the user named, and nothing else.
    ///
    /// # Errors
    /// One of them can't be used, or two have the same name.
    pub fn given(
        runtime: &Arc<Runtime>,
        specs: &[Spec],
        sandbox: &config::Sandbox,
        encoder: EncoderChoice,
    ) -> Result<Self, Error> {
        let mut found = Vec::with_capacity(specs.len());
        for spec in specs {
            found.push((Component::find(runtime, spec)?, spec));
        }
        let mut plugins = Self {
            metrics: Vec::new(),
            shapers: Vec::new(),
            adapters: Vec::new(),
            not_computed: Vec::new(),
            pins: Vec::new(),
            warnings: Vec::new(),
            shares: Vec::new(),
            services: Services::default(),
        };
        let mut runners = Vec::new();
        for (component, spec) in &found {
            if component.kind == Kind::CodeRunner {
                let runner = CodeRunner::of(component.clone(), spec, &Services::default())?;
                plugins.pin(runner.component(), spec, &runner.descriptor().name, None);
                runners.push((*spec).clone());
            }
        }
        plugins.services = services(runtime, runners, sandbox, encoder);
        for (component, spec) in found {
            let services = plugins.services.clone();
            match component.kind {
                Kind::Metric => {
                    let name = spec.name.clone().unwrap_or_else(|| component.stem());
                    match Metric::of(component, spec, &services) {
                        Ok(metric) => plugins.add_metric(metric, spec)?,
                        // A reward can't do without it.
                        Err(error) if spec.weight.is_some() => return Err(error.into()),
                        Err(error) => plugins.leave_out(&name, error)?,
                    }
                }
                Kind::RewardShaper => {
                    let shaper = RewardShaper::of(component, spec, &services)?;
                    plugins.add_shaper(shaper, spec)?;
                }
                Kind::DataAdapter => {
                    let adapter = DataAdapter::of(component, spec, &services)?;
                    plugins.pin(adapter.component(), spec, &adapter.descriptor().name, None);
                    plugins.adapters.push(adapter);
                }
                Kind::CodeRunner => {}
            }
        }
        Ok(plugins)
    }

    fn add_metric(&mut self, metric: Metric, spec: &Spec) -> Result<(), plugin::Error> {
        self.check_name(metric.name(), metric.component())?;
        let signature = Some(metric.signature());
        self.pin(metric.component(), spec, metric.name(), signature);
        self.shares.extend(spec.weight.map(|weight| Share {
            name: metric.name().to_owned(),
            weight,
            clip: spec.clip,
        }));
        self.metrics.push(metric);
        Ok(())
    }

    fn add_shaper(&mut self, shaper: RewardShaper, spec: &Spec) -> Result<(), plugin::Error> {
        self.check_name(shaper.name(), shaper.component())?;
        self.pin(shaper.component(), spec, shaper.name(), None);
        self.shares.push(Share {
            name: shaper.name().to_owned(),
            weight: spec.weight.unwrap_or(1.0),
            clip: spec.clip,
        });
        self.shapers.push(shaper);
        Ok(())
    }

    /// Metrics and shapers are told apart by name alone, in tables and curves.
    fn check_name(&self, name: &str, component: &Component) -> Result<(), plugin::Error> {
        let shaper = self.shapers.iter().find(|shaper| shaper.name() == name);
        let other = shaper
            .map(RewardShaper::component)
            .or_else(|| self.metric(name).map(Metric::component));
        if let Some(other) = other {
            return Err(plugin::Error::SameName {
                name: name.to_owned(),
                first: other.path.clone(),
                second: component.path.clone(),
            });
        }
        if name == reward::TOTAL {
            return Err(plugin::Error::Spec {
                text: component.label(),
                problem: format!("the name `{name}` is that of the whole reward's curve"),
                hint: "give it another with `--plugin PATH,name=NAME`".into(),
            });
        }
        Ok(())
    }

    /// Notes for the manifest what runs, and what it may.
    pub fn pin(
        &mut self,
        component: &Component,
        spec: &Spec,
        name: &str,
        signature: Option<String>,
    ) {
        self.pins
            .push(PluginPin::of(component, spec, name, signature));
    }

    /// The beginning of each plugin's sha256, by name: enough to tell versions apart, the whole
    /// hash is in the manifest.
    pub(super) fn hashes(&self) -> Hashes {
        let pins = self.pins.iter();
        pins.map(|pin| (pin.name.clone(), pin.sha256.chars().take(12).collect()))
            .collect()
    }

    /// Notes a metric that can't be computed since the run has no encoder.
    fn leave_out(&mut self, name: &str, error: plugin::Error) -> Result<(), plugin::Error> {
        match &error {
            plugin::Error::NotOffered { grant, .. } if grant == "encoder" => {
                let reason = one_line(&error);
                self.not_computed.push((name.to_owned(), reason));
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn is_left_out(&self, name: &str) -> bool {
        self.not_computed
            .iter()
            .any(|(left_out, _)| left_out == name)
    }

    fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name() == name)
    }

    /// Metrics that the configuration names, that a shaper needs, and those
    /// that only have a target, if they are there.
    fn add_configured(
        &mut self,
        runtime: &Arc<Runtime>,
        config: &Config,
    ) -> Result<(), plugin::Error> {
        let services = self.services.clone();
        let load = |name: &str| load(runtime, name, &services);
        let needed: Vec<String> = self
            .shapers
            .iter()
            .flat_map(|shaper| &shaper.descriptor().needs_metrics)
            .chain(&config.evaluation.metrics)
            .cloned()
            .collect();
        for name in needed {
            if self.metric(&name).is_some() || self.is_left_out(&name) {
                continue;
            }
            match load(&name) {
                Ok(metric) => self.add_metric(metric, &Spec::of(&name))?,
                Err(error) => self.leave_out(&name, error)?,
            }
        }
        for (name, _) in config.evaluation.targets() {
            if self.metric(name).is_some() || self.is_left_out(name) {
                continue;
            }
            match load(name) {
                Ok(metric) => self.add_metric(metric, &Spec::of(name))?,
                Err(plugin::Error::NotFound { .. }) => {
                    let reason = format!("no plugin `{name}` was found");
                    self.not_computed.push((name.to_owned(), reason));
                }
                Err(
                    error @ (plugin::Error::NotGranted { .. } | plugin::Error::NotOffered { .. }),
                ) => {
                    let reason = one_line(&error);
                    self.not_computed.push((name.to_owned(), reason));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the user made a plugin a part of the reward.
    pub fn rewarded(&self) -> bool {
        !self.shares.is_empty()
    }

    /// The reward where the user made no plugin a part of it: executed tests for a method that
    /// learns from rewards, if the tasks have some; else the metric that ranks preferences.
    ///
    /// # Errors
    /// The metric for tests is there and can't be used.
    pub fn default_reward(
        &mut self,
        runtime: &Arc<Runtime>,
        config: &Config,
        method: Method,
        tasks: Rankable,
    ) -> Result<(), plugin::Error> {
        if self.rewarded() {
            return Ok(());
        }
        let metric = &config.preferences.metric;
        if tasks.tests && method.learns_from_rewards() {
            if self.metric(TESTS).is_none() {
                match load(runtime, TESTS, &self.services.clone()) {
                    Ok(tests) => self.add_metric(tests, &Spec::of(TESTS))?,
                    Err(
                        error @ (plugin::Error::NotFound { .. }
                        | plugin::Error::NotGranted { .. }
                        | plugin::Error::NotOffered { .. }),
                    ) => self.warnings.push(format!(
                        "the tasks' tests can't be the reward, `{metric}` takes their place: {}",
                        one_line(&error)
                    )),
                    Err(error) => return Err(error),
                }
            }
            if self.metric(TESTS).is_some() {
                self.shares.push(Share::whole(TESTS));
                return Ok(());
            }
        }
        if tasks.references && self.metric(metric).is_some() {
            self.shares.push(Share::whole(metric));
        }
        Ok(())
    }

    /// Parts of the reward; empty if nothing can rank responses.
    pub fn reward_parts(&self) -> Vec<reward::Part<'_>> {
        self.shares
            .iter()
            .filter_map(|Share { name, weight, clip }| {
                let shaper = self.shapers.iter().find(|shaper| shaper.name() == name);
                let source = match (shaper, self.metric(name)) {
                    (Some(shaper), _) => reward::Source::Shaper(shaper),
                    (None, Some(metric)) => reward::Source::Metric {
                        higher_is_better: metric.descriptor().higher_is_better,
                        on_failure: metric.on_failure(),
                    },
                    (None, None) => return None,
                };
                Some(reward::Part {
                    name,
                    weight: *weight,
                    clip: *clip,
                    source,
                })
            })
            .collect()
    }

    /// Metrics whose scores the reward needs: all of them where a shaper may look at them.
    pub fn reward_metrics(&self) -> Vec<&Metric> {
        self.metrics
            .iter()
            .filter(|metric| {
                !self.shapers.is_empty()
                    || self.shares.iter().any(|share| share.name == metric.name())
            })
            .collect()
    }

    /// The reward for people: `codebleu`, or `targets + 0.2 length`.
    pub fn describe_reward(&self) -> String {
        self.shares
            .iter()
            .map(|Share { name, weight, .. }| {
                if *weight == 1.0 {
                    name.clone()
                } else {
                    format!("{weight} {name}")
                }
            })
            .collect::<Vec<_>>()
            .join(" + ")
    }
}

/// A metric by its name alone.
fn load(runtime: &Arc<Runtime>, name: &str, services: &Services) -> Result<Metric, plugin::Error> {
    let spec = Spec::of(name);
    Metric::of(Component::find(runtime, &spec)?, &spec, services)
}

/// An error and its hint as a reason in a table.
fn one_line(error: &plugin::Error) -> String {
    error.to_string().replace("\nhint: ", "; ")
}
