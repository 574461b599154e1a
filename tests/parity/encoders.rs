//! States of RoBERTa and BERT.

use rlhf::models::Encoder;
use rlhf::ops::without_fused_kernels;

use super::*;

fn encoder(name: &str) -> Encoder {
    Encoder::load(&golden(&format!("models/{name}")), &Device::Cpu).expect("loads")
}

// Would catch a layer that computes something else than transformers', wrong positions, and
// padding that leaks.
#[test]
fn roberta_matches_transformers() {
    let expected = json("training/forward/tiny-roberta.json");
    let encoder = encoder("tiny-roberta");
    let check = || {
        let (batch, columns) = unpadded(&expected["right"]);
        let states = encoder.states(&batch, encoder.layers()).expect("computes");
        let states = states.to_vec2::<f32>().expect("f32");
        let mut token = 0;
        let all = full_golden("training/forward/tiny-roberta.safetensors");
        let all = all.map(|all| {
            all["right.last_hidden_state"]
                .to_vec3::<f32>()
                .expect("f32")
        });
        let cls = &expected["right"]["last_hidden_state_cls"];
        for (row, columns) in columns.iter().enumerate() {
            for column in columns {
                let found: Vec<f64> = states[token].iter().map(|x| f64::from(*x)).collect();
                let what = format!("row {row} column {column}");
                if *column == 0 {
                    all_close(&found, &floats(&cls[row]), &what);
                }
                if let Some(all) = &all {
                    let expected = all[row][*column].iter().map(|x| f64::from(*x));
                    all_close(&found, &expected.collect::<Vec<_>>(), &what);
                }
                token += 1;
            }
        }
    };
    check();
    without_fused_kernels(check);
}
