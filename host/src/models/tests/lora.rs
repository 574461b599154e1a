//! Adapters: what they change, and what they leave alone.

use super::*;

fn adapters() -> Lora {
    Lora {
        rank: 3,
        alpha: 6.0,
        ..Lora::default()
    }
}

/// Whether a parameter is trained beside the adapters: the head of a scorer.
fn is_new_head(parameter: &str) -> bool {
    ["score.", "classifier.", "bert.pooler.", "human_logits."]
        .iter()
        .any(|head| parameter.starts_with(head))
}

// Would catch an adapter that changes the model before it has learnt anything, gradients that
// are kept for frozen weights, and a layer that `all-linear` forgets.
#[test]
fn a_new_adapter_changes_nothing_and_alone_is_trained() {
    for_each(|name, model| {
        let before = model(Step::Loss).number();
        model(Step::Adapt(adapters()));
        assert_eq!(model(Step::Loss).number(), before, "{name}");
        let trained = model(Step::Gradients).tensors();
        let (heads, adapted): (Vec<_>, Vec<_>) =
            trained.into_iter().partition(|(p, _)| is_new_head(p));
        assert_eq!(heads.is_empty(), !name.starts_with("scorer"), "{name}");
        assert!(adapted.iter().all(|(p, _)| p.contains(".lora_")), "{name}");
        let layers = match name {
            name if name.contains("gpt2") => 2 * 4,
            name if name.contains("bert") => 2 * 6,
            _ => 2 * 7,
        };
        assert_eq!(adapted.len(), 2 * layers, "{name}");
    });
}

// Would catch an adapter's backward that belongs to another forward: its own gradients, and what
// it passes on to the layers below.
#[test]
fn adapter_gradients_are_the_losss() {
    for_each(|name, model| {
        model(Step::Adapt(adapters()));
        model(Step::Shake);
        check_slopes(name, model);
    });
}

// Would catch a merge of another product, a weight stored the other way round, an unmerge that
// is not its inverse, and a reference that still has its adapters. 1e-5: sums in another order.
#[test]
fn merged_equals_unmerged_and_off_equals_before() {
    for_each(|name, model| {
        let before = model(Step::Loss).number();
        model(Step::Adapt(adapters()));
        let weights = model(Step::Values).tensors();
        model(Step::Shake);
        let shaken = model(Step::Values).tensors();
        let apart = model(Step::Loss).number();
        assert!(
            (apart - before).abs() > 1e-2,
            "{name}: {apart} after {before}"
        );
        if !name.starts_with("scorer") {
            model(Step::Adapters(false));
            assert_eq!(model(Step::Loss).number(), before, "{name}");
            model(Step::Adapters(true));
        }
        model(Step::Merged(true));
        let merged = model(Step::Loss).number();
        assert!(
            (merged - apart).abs() < 1e-5 * apart.abs().max(1.0),
            "{name}: {merged} {apart}"
        );
        model(Step::Merged(true));
        assert_eq!(model(Step::Loss).number(), merged, "{name}: merged twice");
        model(Step::Merged(false));
        all_close(name, &model(Step::Values).tensors(), &shaken, 1e-6);
        assert_eq!(weights.len(), shaken.len());
    });
}

// Would catch a mask that is not the forward's in the backward or when a layer is computed
// again, one that depends on the path, and one that is the same in every pass.
#[test]
fn dropout_follows_from_the_step() {
    let config = Lora {
        dropout: 0.3,
        ..adapters()
    };
    for_each(|name, model| {
        model(Step::Adapt(config.clone()));
        model(Step::Shake);
        let at = |step: u64, model: &mut dyn FnMut(Step) -> Answer| {
            model(Step::Begin(step));
            model(Step::Gradients).tensors()
        };
        let first = at(1, model);
        let plain = without_fused_kernels(|| at(1, model));
        all_close(name, &plain, &first, 2e-5);
        model(Step::Checkpointing(true));
        let recomputed = at(1, model);
        let same = |a: &[(String, Tensor)], b: &[(String, Tensor)]| {
            a.iter()
                .zip(b)
                .all(|((_, a), (_, b))| values(a) == values(b))
        };
        assert!(same(&recomputed, &first), "{name}");
        // The second pass of a step has another mask, as the second step has.
        let second_pass = model(Step::Gradients).tensors();
        assert!(
            !same(&second_pass, &first) && !same(&at(2, model), &first),
            "{name}"
        );
        assert!(same(&at(1, model), &first), "{name}");
    });
}

// Would catch a mask that is scaled in one direction only: the slope of the loss with dropout,
// under the mask of one step, along the gradient of the same step. Tolerance as in
// [`check_slopes`].
#[test]
fn dropout_is_part_of_the_gradient() -> Result<()> {
    let mut model = language_model(gpt2());
    let config = Lora {
        dropout: 0.3,
        ..adapters()
    };
    model.add_adapters(&config, 7)?;
    shake(model.trainable_mut());
    model.train()?;
    let (batch, targets) = batch();
    let loss = |model: &mut LanguageModel| -> Result<f64> {
        let mut loss = 0.0;
        model.backbone_mut().begin_step(3);
        model.accumulate(&batch, &targets, &mut |_, logprobs| {
            let sum: f32 = logprobs.iter().sum();
            loss += f64::from(sum).powi(2) / 10.0;
            vec![sum / 5.0; logprobs.len()]
        })?;
        Ok(loss)
    };
    loss(&mut model)?;
    let gradients: Vec<Tensor> = model
        .trainable()
        .iter()
        .map(|p| p.gradient.as_ref().expect("trained").copy())
        .collect::<Result<_>>()?;
    for (i, gradient) in gradients.iter().enumerate() {
        let norm2 = values(gradient).iter().map(|x| x * x).sum::<f64>();
        let step = 1e-2 / norm2.sqrt();
        let mut at = |factor: f64| -> Result<f64> {
            let value = &mut model.trainable_mut()[i].value;
            *value = (&*value + (gradient * factor)?)?;
            loss(&mut model)
        };
        let (up, down) = (at(step)?, at(-2.0 * step)?);
        at(step)?;
        let slope = (up - down) / (2.0 * step);
        let name = &model.trainable()[i].name;
        assert!(
            (slope / norm2 - 1.0).abs() < 3e-2,
            "{name}: slope {slope}, gradient {norm2}"
        );
    }
    Ok(())
}

// Would catch names that fit in the middle of a word, and a name that nobody has.
#[test]
fn adapters_go_where_they_are_told() -> Result<()> {
    let named = |names: &[&str]| Lora {
        target_modules: names.iter().map(|n| (*n).to_owned()).collect(),
        ..adapters()
    };
    let mut model = language_model(llama(false));
    assert_eq!(
        model.add_adapters(&named(&["q_proj", "self_attn.v_proj"]), 1)?,
        4
    );
    assert!(model.add_adapters(&named(&["q_proj"]), 1).is_err());
    let names: Vec<&str> = model.trainable().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names[..2],
        [
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
        ]
    );
    // PEFT's start: uniform within ±1/√inputs.
    let a = values(&model.trainable()[0].value);
    let bound = 1.0 / 24f64.sqrt();
    assert!(a.iter().all(|x| x.abs() <= bound) && a.iter().any(|x| x.abs() > 0.9 * bound));
    let mut model = language_model(gpt2());
    let refused = model
        .add_adapters(&named(&["proj"]), 1)
        .expect_err("refused")
        .to_string();
    assert!(
        refused.contains(
            "no layer of the model is called `proj`\nhint: there are c_attn, c_proj, c_fc"
        ),
        "{refused}"
    );
    Ok(())
}

// Would catch adapters that a folder loses, and a folder of other adapters taken for these.
#[test]
fn adapters_survive_their_folder() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = root.path().join("saved");
    let mut model = language_model(gpt2());
    model.add_adapters(&adapters(), 1).expect("fits");
    shake(model.parameters_mut());
    model.save(&folder, &|_| Ok(())).expect("saves");
    let mut other = language_model(gpt2());
    other.add_adapters(&adapters(), 2).expect("fits");
    other.restore(&folder).expect("loads");
    for (a, b) in model.parameters().iter().zip(other.parameters()) {
        assert_eq!(values(&a.value), values(&b.value), "{}", a.name);
    }
    let config = std::fs::read_to_string(folder.join("adapter/adapter_config.json"));
    let config: Value = serde_json::from_str(&config.expect("there")).expect("JSON");
    assert_eq!(
        (&config["r"], &config["fan_in_fan_out"]),
        (&json!(3), &json!(true))
    );
    let mut narrow = language_model(gpt2());
    let rank = Lora {
        rank: 2,
        ..adapters()
    };
    narrow.add_adapters(&rank, 1).expect("fits");
    let refused = narrow.restore(&folder).expect_err("refused").to_string();
    assert!(
        refused.contains("lora_A.weight` has shape [3, 24], expected [2, 24]"),
        "{refused}"
    );
}

// Would catch frozen weights stored in bf16 that a layer cannot read, and trained ones that are
// rounded. 2e-2: bf16 has 8 bits.
#[test]
fn frozen_weights_may_be_stored_in_less() -> Result<()> {
    for (name, mut model) in language_models() {
        let before = model.loss()?;
        model.add_adapters(&adapters(), 1)?;
        model.backbone_mut().store_frozen(DType::BF16)?;
        let after = model.loss()?;
        assert!(
            (after - before).abs() < 2e-2 * before.abs(),
            "{name}: {after} for {before}"
        );
        let trained = gradients(&mut model)?;
        assert!(trained.iter().all(|(_, g)| g.dtype() == DType::F32));
        let stored = model
            .backbone()
            .parameters()
            .iter()
            .filter(|p| p.value.dtype() == DType::BF16)
            .count();
        assert_eq!(stored, model.backbone().parameters().len(), "{name}");
        model.absorb_adapters()?;
        model.train()?;
        assert!(
            model
                .parameters()
                .iter()
                .all(|p| p.value.dtype() == DType::F32)
        );
    }
    Ok(())
}

// Would catch an adapter that a PEFT folder loses or gives to another layer, and one of another
// model that is taken.
#[test]
fn adapters_come_back_from_their_folder() {
    let root = tempfile::tempdir().expect("temporary folder");
    for (number, (name, mut model)) in language_models().into_iter().enumerate() {
        let folder = root.path().join(number.to_string());
        let mut other = language_model(model.config().clone());
        let before = model.loss().expect("forward");
        model.add_adapters(&adapters(), 1).expect("fits");
        shake(model.trainable_mut());
        peft::save(&folder, model.backbone(), "base", "CAUSAL_LM").expect("saves");
        let peft = peft::Peft::open(&folder).expect("opens");
        assert_eq!(peft.base(), "base");
        let count = peft.add_to(&mut other).expect("loads");
        assert_eq!(count, model.backbone().layer_names().len(), "{name}");
        let (adapted, loaded) = (model.loss(), other.loss());
        let (adapted, loaded) = (adapted.expect("forward"), loaded.expect("forward"));
        assert_eq!(loaded, adapted, "{name}");
        assert!((adapted - before).abs() > 1e-2, "{name}");
    }
    let peft = peft::Peft::open(&root.path().join("0")).expect("opens");
    let refused = peft.add_to(&mut language_model(gpt2()));
    let refused = refused.expect_err("refused").to_string();
    assert!(
        refused.contains("adapter_model.safetensors`: tensor `base_model.model.model.layers.0."),
        "{refused}"
    );
}
