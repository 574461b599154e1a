//! Every architecture on a CUDA device beside the same model on the CPU.

use super::*;
use crate::ops::cuda;
use crate::ops::testing::on;

/// A model's name, loss and gradients.
type Found = (String, f64, Vec<(String, Tensor)>);

/// What is done to a model first.
type Prepare<'a> = &'a dyn Fn(&mut dyn FnMut(Step) -> Answer);

/// Those of every architecture, after `prepare`.
fn found(prepare: Prepare) -> Vec<Found> {
    let mut all = Vec::new();
    for_each(|name, model| {
        prepare(model);
        let loss = model(Step::Loss).number();
        all.push((name.to_owned(), loss, model(Step::Gradients).tensors()));
    });
    all
}

/// `‖a − b‖ / ‖b‖` over all gradients of a model.
fn apart(a: &[(String, Tensor)], b: &[(String, Tensor)]) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert_eq!(a.dims(), b.dims(), "{name}");
        for (a, b) in values(a).into_iter().zip(values(b)) {
            difference += (a - b).powi(2);
            size += b.powi(2);
        }
    }
    let apart = (difference / size).sqrt();
    if apart.is_finite() {
        apart
    } else {
        f64::INFINITY
    }
}

fn adapted(model: &mut dyn FnMut(Step) -> Answer) {
    let lora = Lora {
        rank: 4,
        dropout: 0.2,
        ..Lora::default()
    };
    model(Step::Adapt(lora));
    model(Step::Shake);
    model(Step::Begin(1));
}

// Would catch a layer that computes something else on the device, by kernels or by tensors, in
// whatever type, with or without adapters. Tolerances: f32 sums in another order; gradients that
// pass through two dozen roundings of f16 and bf16, and losses that are differences of scores.
#[test]
#[ignore = "needs a CUDA device"]
fn cuda_gradients_are_the_cpus() {
    let device = cuda::device(0).expect("a CUDA device");
    let (whole, adapters): (Prepare, Prepare) = (&|_| (), &adapted);
    for (what, prepare) in [("all weights", whole), ("adapters", adapters)] {
        let expected = found(prepare);
        for (dtype, of_gradients, of_losses) in [
            (DType::F32, 2e-5, 1e-5),
            (DType::F16, 1e-2, 2e-2),
            (DType::BF16, 6e-2, 1e-1),
        ] {
            let run = || {
                on(&device, || {
                    found(&|model| {
                        prepare(model);
                        model(Step::Compute(dtype));
                    })
                })
            };
            for (way, there) in [("kernels", run()), ("tensors", without_fused_kernels(run))] {
                for ((name, loss, gradients), (_, expected_loss, expected)) in
                    there.iter().zip(&expected)
                {
                    let apart = apart(gradients, expected);
                    let of_loss = (loss - expected_loss).abs() / expected_loss.abs().max(1.0);
                    let what = format!("{name}, {what}, {dtype:?}, {way}");
                    println!("{what}: loss {of_loss:.1e}, gradients {apart:.1e}");
                    assert!(
                        apart <= of_gradients && of_loss <= of_losses,
                        "{what}: loss {loss} for {expected_loss}, gradients {apart:.1e} apart"
                    );
                }
            }
        }
    }
}

// Would catch a forward that is not the same when it is computed again: the same bits.
#[test]
#[ignore = "needs a CUDA device"]
fn cuda_checkpointed_layers_have_the_same_gradients() {
    let device = cuda::device(0).expect("a CUDA device");
    for dtype in [DType::F32, DType::BF16] {
        let run = |checkpointing| {
            on(&device, || {
                found(&|model| {
                    adapted(model);
                    model(Step::Compute(dtype));
                    model(Step::Checkpointing(checkpointing));
                })
            })
        };
        for ((name, _, kept), (_, _, again)) in run(false).iter().zip(&run(true)) {
            for ((parameter, a), (_, b)) in kept.iter().zip(again) {
                assert_eq!(values(a), values(b), "{name}, {dtype:?}: {parameter}");
            }
        }
    }
}

/// A Llama with long activations and a wide vocabulary beside its few weights.
fn wide() -> LanguageModel {
    let config = LlamaConfig {
        vocab_size: 60_000,
        hidden_size: 128,
        intermediate_size: 512,
        num_hidden_layers: 12,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 32,
        max_position_embeddings: 1024,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_id: vec![2],
        pad_token_id: None,
    };
    let mut model = config.init(1, &device()).expect("room");
    model.train().expect("room");
    model
}

// Would catch checkpointing that keeps everything on the device, and logits of a whole batch: 8192
// targets of 60000 would take 1875 MiB.
#[test]
#[ignore = "needs a CUDA device"]
fn cuda_memory_is_what_checkpointing_and_chunks_leave() {
    let device = cuda::device(0).expect("a CUDA device");
    let peak = |checkpointing: bool| {
        let mut model = on(&device, wide);
        model
            .backbone_mut()
            .set_gradient_checkpointing(checkpointing);
        let (mut batch, mut targets) = (Packed::default(), Targets::default());
        for row in 0..16 {
            let ids: Vec<u32> = (0..513).map(|i| (i * 31 + row * 977) % 60_000).collect();
            let all = batch.push(&ids);
            targets.push(&batch, all.start, all.start + 1..all.end);
            targets.close_group();
        }
        device.synchronize().expect("the device is done");
        cuda::forget_peak(0).expect("the device tells");
        let before = cuda::peak_bytes(0).expect("the device tells");
        let mut slope = |_: usize, logprobs: &[f32]| vec![-1e-4; logprobs.len()];
        model
            .accumulate(&batch, &targets, &mut slope)
            .expect("computes");
        device.synchronize().expect("the device is done");
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        (
            mib(before),
            mib(cuda::peak_bytes(0).expect("the device tells") - before),
        )
    };
    let (kept, checkpointed) = (peak(false), peak(true));
    println!("MiB before a step and of it: kept {kept:.0?}, checkpointed {checkpointed:.0?}");
    assert!(checkpointed.1 < 0.5 * kept.1, "{kept:?} {checkpointed:?}");
    assert!(checkpointed.1 < 1200.0, "{checkpointed:?}");
}
