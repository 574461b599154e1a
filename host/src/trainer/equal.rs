//! Trainings that must agree, compared step by step: a difference that is small in the end may have
//! been a drift all along.

use std::sync::atomic::AtomicBool;

use super::tests::{Recorder, bits, demonstrations, model, preferences, training};
use super::*;
use crate::config::dpo::Dpo;
use crate::config::model::Lora;
use crate::models::{LanguageModel, Packed, Targets};

/// The curves of a training, and the weights in the end.
type Trained = (Vec<f64>, Vec<u32>);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Supervised,
    Preferences,
}

fn with_adapters() -> LanguageModel {
    let mut model = model();
    let lora = Lora {
        rank: 4,
        dropout: 0.2,
        ..Lora::default()
    };
    model.add_adapters(&lora, 9).expect("fits");
    model
}

/// Trains 30 steps, and remembers the loss and the gradient's norm of each.
fn trained(kind: Kind, mut model: LanguageModel, training: &Training) -> Trained {
    let interrupt = AtomicBool::new(false);
    let mut tracker = Recorder::new(&interrupt);
    let mut run = Run {
        seed: 3,
        interrupt: &interrupt,
        tracker: &mut tracker,
        checkpoints: None,
    };
    let training = Training {
        steps: 30,
        epochs: 100,
        learning_rate: 3e-3,
        ..training.clone()
    };
    match kind {
        Kind::Supervised => {
            sft::train(&mut model, &demonstrations(), &training, &mut run).expect("trains");
        }
        Kind::Preferences => {
            let dpo = Dpo::default();
            dpo::train(
                &mut model,
                &preferences(),
                &[],
                &training,
                &dpo,
                &mut run,
                None,
            )
            .expect("trains");
        }
    }
    assert_eq!(tracker.losses.len(), 30);
    (tracker.losses, bits(&model))
}

/// Points that are near each other, and no side that is above the other more often than chance
/// has it.
#[track_caller]
fn check_curves(what: &str, one: &[f64], two: &[f64], tolerance: f64) {
    assert_eq!(one.len(), two.len(), "{what}");
    for (step, (a, b)) in one.iter().zip(two).enumerate() {
        let apart = (a - b).abs();
        let near = apart <= tolerance * a.abs().max(b.abs()).max(0.1);
        assert!(near, "{what}, step {step}: {a} and {b}");
    }
    let sign = |difference: f64| match difference {
        d if d > 0.0 => 1.0,
        d if d < 0.0 => -1.0,
        _ => 0.0,
    };
    let signs: Vec<f64> = one.iter().zip(two).map(|(a, b)| sign(a - b)).collect();
    let count: f64 = signs.iter().map(|s| s.abs()).sum();
    let drift: f64 = signs.iter().sum();
    // Errors of neighbouring steps hang together, so four standard deviations of independent
    // signs, and not two.
    assert!(
        drift.abs() <= 4.0 * count.sqrt().max(1.0),
        "{what}: {drift} of {count} steps to one side: {one:?} {two:?}"
    );
}

// Would catch a mean taken per micro-batch, in either loss: f32 sums in another order.
#[test]
fn eight_is_four_twice() {
    for kind in [Kind::Supervised, Kind::Preferences] {
        let of = |batch_size, gradient_accumulation_steps| {
            let training = Training {
                batch_size,
                gradient_accumulation_steps,
                ..training()
            };
            trained(kind, model(), &training).0
        };
        let large = of(8, 1);
        check_curves(&format!("{kind:?}, 4 x 2"), &large, &of(4, 2), 1e-3);
        check_curves(&format!("{kind:?}, 1 x 8"), &large, &of(1, 8), 1e-3);
    }
}

// Would catch a forward that is not the same when it is computed again, dropout included: the
// curves must be the same bits.
#[test]
fn checkpointed_layers_train_alike() {
    for kind in [Kind::Supervised, Kind::Preferences] {
        for make in [model, with_adapters] {
            let kept = trained(kind, make(), &training());
            let mut again = make();
            again.backbone_mut().set_gradient_checkpointing(true);
            let again = trained(kind, again, &training());
            assert!(kept == again, "{kind:?}: {:?} {:?}", kept.0, again.0);
        }
    }
}

// Would catch a sum whose order hangs on the number of threads: the curves must be the same bits.
#[test]
fn one_thread_trains_as_several() {
    for kind in [Kind::Supervised, Kind::Preferences] {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.expect("threads");
            pool.install(|| trained(kind, with_adapters(), &training()))
        };
        let one = on(1);
        for threads in [2, 3] {
            assert!(one == on(threads), "{kind:?}: {threads} threads");
        }
    }
}

// Would catch adapters that mean something else once they are merged, at any step of their
// training: the held-out losses of both, checkpoint by checkpoint. 1e-5: sums in another order.
#[test]
fn merged_adapters_are_the_adapters() {
    let root = tempfile::tempdir().expect("temporary folder");
    let interrupt = AtomicBool::new(false);
    let (train, held_out) = (&preferences()[..16], &preferences()[16..]);
    let settings = Training {
        steps: 12,
        save_steps: 1,
        learning_rate: 3e-3,
        ..training()
    };
    let mut tracker = Recorder::new(&interrupt);
    let mut run = Run {
        seed: 3,
        interrupt: &interrupt,
        tracker: &mut tracker,
        checkpoints: Some(Checkpoints {
            folder: root.path(),
            resume: None,
            extras: &|_| Ok(()),
            judge: None,
        }),
    };
    let dpo = Dpo {
        reference_free: true,
        ..Dpo::default()
    };
    let mut policy = with_adapters();
    dpo::train(
        &mut policy,
        train,
        held_out,
        &settings,
        &dpo,
        &mut run,
        None,
    )
    .expect("trains");
    let reference = vec![dpo::loss::PairLogprobs::default(); held_out.len()];
    let objective = dpo::loss::Objective::of(&dpo);
    let loss = |model: &LanguageModel| {
        let found = dpo::evaluate(model, held_out, &reference, &objective);
        found.expect("a loss").loss
    };
    let (mut apart, mut merged) = (Vec::new(), Vec::new());
    for (_, checkpoint) in checkpoint::all(root.path()) {
        let mut one = with_adapters();
        one.restore(&checkpoint).expect("loads");
        apart.push(loss(&one));
        one.absorb_adapters().expect("merges");
        merged.push(loss(&one));
    }
    assert_eq!(apart.len(), 12);
    assert!(apart[11] < 0.99 * apart[0], "nothing was learnt: {apart:?}");
    check_curves("merged", &apart, &merged, 1e-5);
}

/// Trains on prompts and responses of different lengths that were padded on one side, by the
/// response's log-probability; the losses.
fn padded(left: bool) -> Vec<f64> {
    let rows: Vec<Vec<u32>> = (0..6)
        .map(|i| (0..4 + i % 3).map(|at| 4 + (5 * i + 3 * at) % 30).collect())
        .collect();
    let width = rows.iter().map(Vec::len).max().expect("rows");
    let pad = |row: &[u32], filler: u32| -> Vec<u32> {
        let padding = vec![filler; width - row.len()];
        match left {
            true => [&padding, row].concat(),
            false => [row, &padding].concat(),
        }
    };
    let ids: Vec<Vec<u32>> = rows.iter().map(|row| pad(row, 0)).collect();
    let mask: Vec<Vec<u8>> = rows
        .iter()
        .map(|row| {
            pad(&vec![1; row.len()], 0)
                .iter()
                .map(|one| *one as u8)
                .collect()
        })
        .collect();
    let (batch, columns) = Packed::from_padded(&ids, &mask).expect("one shape");
    let mut targets = Targets::default();
    let mut start = 0;
    for there in &columns {
        targets.push(&batch, start + 1, start + 2..start + there.len());
        targets.close_group();
        start += there.len();
    }
    let mut model = model();
    model.train().expect("room");
    let mut optimizer = optimizer::AdamW::new(&model, &training()).expect("room");
    let mut losses = Vec::new();
    for number in 1..=20 {
        model.backbone_mut().begin_step(number);
        let mut loss = 0.0;
        model
            .accumulate(&batch, &targets, &mut |_, logprobs| {
                loss -= logprobs.iter().map(|x| f64::from(*x)).sum::<f64>();
                vec![-0.1; logprobs.len()]
            })
            .expect("computes");
        optimizer.step(&mut model, 1e-2, 1.0, 1.0).expect("steps");
        losses.push(loss);
    }
    losses
}

// Would catch positions or attention that padding moves: the curves must be the same bits.
#[test]
fn left_padding_trains_as_right() {
    let (left, right) = (padded(true), padded(false));
    assert!(left[19] < 0.8 * left[0], "nothing was learnt: {left:?}");
    assert_eq!(left, right);
}

// Would catch a step that is another on a CUDA device: the curves of supervised training and DPO are
// the CPU's (f32 sums in another order, over 30 steps), the same bits with checkpointing, and near
// in half precision, in which f16 scales its losses.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a CUDA device"]
fn cuda_trains_as_the_cpu() {
    use crate::ops::testing::on;
    use candle_core::DType;

    let device = crate::ops::cuda::device(0).expect("a CUDA device");
    for kind in [Kind::Supervised, Kind::Preferences] {
        for make in [model, with_adapters] {
            let expected = trained(kind, make(), &training()).0;
            let there = |dtype, checkpointing| {
                on(&device, || {
                    let mut model = make();
                    model.backbone_mut().set_compute(dtype);
                    model
                        .backbone_mut()
                        .set_gradient_checkpointing(checkpointing);
                    trained(kind, model, &training())
                })
            };
            let found = there(DType::F32, false);
            check_curves(&format!("{kind:?}"), &expected, &found.0, 2e-3);
            assert!(found == there(DType::F32, true), "{kind:?}: checkpointed");
            for dtype in [DType::BF16, DType::F16] {
                let found = there(dtype, false).0;
                let last = |curve: &[f64]| curve[20..].iter().sum::<f64>() / 10.0;
                let (found, expected) = (last(&found), last(&expected));
                println!("{kind:?}, {dtype:?}: {found} for {expected}");
                assert!(
                    (found - expected).abs() < 0.05 * expected.max(0.2),
                    "{kind:?}, {dtype:?}: {found} for {expected}"
                );
            }
        }
    }
}
