//! The value model of PPO: a second network beside the policy, or a head on the policy's states.

use candle_core::Result;

use super::experience::{self, Experience};
use super::{AdamW, Error, Job, doing};
use crate::config::Ppo;
use crate::config::ppo::ValueBackbone;
use crate::models::{
    LanguageModel, Model, Objective, Packed, Parameter, Scorer, Targets, ValueHead, lend_gradients,
};
use crate::random::{Purpose, Stream};
use crate::trainer::ppo::loss;

/// What says how much was to be expected.
pub(super) enum Critic {
    Own(Box<OwnCritic>),
    Shared(SharedCritic),
}

/// A value model and its optimizer.
pub(super) struct OwnCritic {
    pub model: Scorer,
    pub optimizer: AdamW,
    loss: ValueLoss,
    /// Its learning rate over the policy's.
    rate: f64,
}

/// A head that the policy's optimizer trains.
pub(super) struct SharedCritic {
    pub head: ValueHead,
    loss: ValueLoss,
}

/// Means over an update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ValueStats {
    pub loss: f64,
    /// Share of tokens whose value was cut.
    pub clipped: f64,
}

#[derive(Clone, Copy, Debug)]
struct ValueLoss {
    clip_range: f64,
    coefficient: f64,
}

impl ValueLoss {
    /// `∂loss/∂value` of the tokens of some responses, of an update with so many `tokens`.
    fn slopes(
        self,
        values: &[f32],
        micro: &[&Experience],
        tokens: usize,
        stats: &mut ValueStats,
    ) -> Vec<f32> {
        let weight = 1.0 / tokens.max(1) as f64;
        let known = micro.iter().flat_map(|e| e.values.iter().zip(&e.returns));
        let slopes = values.iter().zip(known).map(|(value, (old, target))| {
            let (value, old) = (f64::from(*value), f64::from(*old));
            let one = loss::value(value, old, *target, self.clip_range);
            stats.loss += one.loss * weight;
            stats.clipped += f64::from(u8::from(one.clipped)) * weight;
            (one.slope * weight * self.coefficient) as f32
        });
        slopes.collect()
    }
}

impl Critic {
    pub fn new(
        policy: &LanguageModel,
        settings: &Ppo,
        job: &Job,
        seed: u64,
    ) -> std::result::Result<Self, Error> {
        let loss = ValueLoss {
            clip_range: settings.clip_range_value,
            coefficient: settings.value_coefficient,
        };
        let own = || {
            let mut model =
                policy.value_model(Stream::new(seed, Purpose::ValueHead, 0, 0).seed())?;
            if let Some(lora) = policy.backbone().lora() {
                model.add_adapters(lora, seed)?;
            }
            model.train()?;
            let optimizer = AdamW::new(&model, job.training)?;
            model.freeze();
            let rate = settings.value_learning_rate;
            Ok(Self::Own(Box::new(OwnCritic {
                model,
                optimizer,
                loss,
                rate: rate.map_or(1.0, |rate| rate / job.training.learning_rate),
            })))
        };
        let shared = || {
            let hidden = policy.backbone().spec().hidden_size;
            let head = ValueHead::new(hidden, policy.device())?;
            Ok(Self::Shared(SharedCritic { head, loss }))
        };
        let made = match settings.value_backbone {
            ValueBackbone::Own => own(),
            ValueBackbone::Shared => shared(),
        };
        made.map_err(doing("making the value model"))
    }

    /// What the policy's optimizer trains with it.
    pub fn beside_policy(&self) -> Vec<&Parameter> {
        match self {
            Self::Own(_) => Vec::new(),
            Self::Shared(critic) => critic.head.parameters().into(),
        }
    }

    /// The same, to change it.
    pub fn beside_policy_mut(&mut self) -> Vec<&mut Parameter> {
        match self {
            Self::Own(_) => Vec::new(),
            Self::Shared(critic) => critic.head.parameters_mut().into(),
        }
    }

    /// Values before each response's tokens, `micro` responses at once.
    pub fn values(
        &self,
        policy: &LanguageModel,
        responses: &[Experience],
        micro: usize,
    ) -> Result<Vec<Vec<f32>>> {
        experience::by_response(responses, micro, |batch, targets| match self {
            Self::Own(critic) => critic.model.scores(batch, &targets.rows),
            Self::Shared(critic) => policy.values(&critic.head, batch, &targets.rows),
        })
    }
}

impl OwnCritic {
    /// An update from responses, `micro` at once, at the policy's learning rate `rate`; the inner
    /// error says what is not finite, and then nothing has changed.
    ///
    /// Its gradients lie where the policy's are between that one's updates, which come after its
    /// own: room for one model's is enough for both.
    pub fn update(
        &mut self,
        policy: &mut LanguageModel,
        update: &[&Experience],
        micro: usize,
        rate: f64,
        max_norm: f64,
    ) -> Result<std::result::Result<ValueStats, String>> {
        lend_gradients(policy, &mut self.model);
        // Its head has no counterpart in the policy.
        self.model.train()?;
        let learned = self.learn(update, micro, rate, max_norm);
        lend_gradients(&mut self.model, policy);
        learned
    }

    fn learn(
        &mut self,
        update: &[&Experience],
        micro: usize,
        rate: f64,
        max_norm: f64,
    ) -> Result<std::result::Result<ValueStats, String>> {
        self.model
            .backbone_mut()
            .begin_step(self.optimizer.number());
        let tokens = update.iter().map(|e| e.tokens()).sum();
        let (loss, mut stats) = (self.loss, ValueStats::default());
        let passes = update.chunks(micro.max(1)).flat_map(experience::passes);
        for micro in passes {
            let (batch, targets) = experience::pack(micro);
            self.model
                .accumulate(&batch, &targets.rows, &mut |values| {
                    loss.slopes(values, micro, tokens, &mut stats)
                })?;
        }
        if !stats.loss.is_finite() {
            AdamW::discard(self.model.trainable_mut())?;
            return Ok(Err(format!("the value loss is {}", stats.loss)));
        }
        let rate = rate * self.rate;
        let norm = self.optimizer.step(&mut self.model, rate, max_norm, 1.0)?;
        match norm.is_finite() {
            true => Ok(Ok(stats)),
            false => Ok(Err(format!("the norm of the value gradient is {norm}"))),
        }
    }
}

impl SharedCritic {
    /// Adds the gradients of a micro-batch, those of the policy's loss with those of the values.
    pub fn accumulate(
        &mut self,
        policy: &mut LanguageModel,
        (batch, targets): (&Packed, &Targets),
        objective: &mut Objective,
        (micro, tokens): (&[&Experience], usize),
        stats: &mut ValueStats,
    ) -> Result<f64> {
        let loss = self.loss;
        policy.accumulate_with_values(batch, targets, objective, &mut self.head, &mut |values| {
            loss.slopes(values, micro, tokens, stats)
        })
    }
}
