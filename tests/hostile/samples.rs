//! Guests that are loaded and misbehave on an item.

use rlhf::plugin::Spec;

use crate::harness::{Plugin, cases, runtime, spec, workspace};

/// Would catch a failure that spreads to its neighbours, is scored as a
/// number, is called by the wrong name, or leaves the runtime unusable.
#[test]
fn a_bad_item_costs_itself() {
    let workspace = workspace();
    let runtime = runtime(&workspace);
    let load = |spec: Spec| Plugin::load(&runtime, &spec);
    let honest = load(spec("honest", "fuel=1000000")).expect("it is honest");
    let mut wrong = Vec::new();
    for case in cases().into_iter().filter(|case| !case.is_load()) {
        let name = case.name();
        let plugin = match load(case.spec(&workspace)) {
            Ok(plugin) => plugin,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        // Twice: an instance that failed must not serve again.
        for _ in 0..2 {
            let reports = plugin.serve(&workspace);
            for at in [0, 2] {
                assert_eq!(reports[at], Ok(()), "{name}: a neighbour");
            }
            let as_expected = match &reports[1] {
                Ok(()) => case.expected == "passes",
                Err(found) => found.iter().any(|text| text.starts_with(&case.expected)),
            };
            if !as_expected {
                let found = format!("{:?}", reports[1]);
                wrong.push(format!(
                    "{name}: {}\n  expected {}",
                    found.chars().take(300).collect::<String>(),
                    case.expected
                ));
                break;
            }
            // What reaches a terminal is text, of a bounded length.
            if let Err([text, _]) = &reports[1] {
                let plain =
                    !text.chars().any(|c| c.is_control() && c != '\n') && text.len() < 64 << 10;
                if !plain {
                    wrong.push(format!("{name}: a report of {} bytes", text.len()));
                    break;
                }
            }
        }
        let served = honest.serve(&workspace);
        assert_eq!(served, [Ok(()), Ok(()), Ok(())], "after {name}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
