//! Runs that are ended at any moment: gone on with, they end in the same bytes.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use rlhf::random::{Purpose, Stream};
use rlhf::trainer::checkpoint;
use rlhf_test_support::{Running, Workspace};
use serde_json::Value;

use crate::job::{difference, run, workspace};

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After this share of the time that a whole run takes.
    Time(f64),
    /// Some milliseconds after the checkpoint of a step is there.
    Behind(u64, u64),
    /// While something is written that is not yet in its place; the nth time that is seen.
    Writing(usize),
}

impl Moment {
    fn random(rng: &mut Stream) -> Self {
        match rng.below(3) {
            0 => Self::Time(rng.uniform()),
            1 => Self::Behind(2 * (1 + rng.below(5)) as u64, rng.below(25) as u64),
            _ => Self::Writing(1 + rng.below(8)),
        }
    }

    /// Waits for it, unless the run ends before.
    fn wait(self, run: &mut Running, folder: &Path, whole: Duration) {
        match self {
            Self::Time(share) => {
                let until = std::time::Instant::now() + whole.mul_f64(share);
                run.wait_until(|| std::time::Instant::now() > until);
            }
            Self::Behind(step, milliseconds) => {
                let checkpoint = folder.join(format!("checkpoint-{step}"));
                run.wait_until(|| checkpoint.is_dir());
                std::thread::sleep(Duration::from_millis(milliseconds));
            }
            Self::Writing(times) => {
                let mut seen = HashSet::new();
                run.wait_until(|| {
                    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
                    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
                    seen.extend(names.filter(|name| {
                        name.ends_with(".tmp")
                            || name.contains(".partial-")
                            || name.contains(".old-")
                    }));
                    seen.len() >= times
                });
            }
        }
    }
}

/// Kills a run of `method` at each moment, going on with it each time, to its end.
///
/// Returns how many of the moments came before the run's end.
fn killed(
    workspace: &Workspace,
    method: &str,
    name: &str,
    moments: &[Moment],
    whole: Duration,
) -> usize {
    let folder = workspace.join(name);
    let start = || {
        let resume: &[&str] = match folder.join("config.json").is_file() {
            true => &["--resume"],
            false => &[],
        };
        run(workspace, method, name, resume)
    };
    let mut kills = 0;
    for moment in moments {
        let mut running = start().start();
        moment.wait(&mut running, &folder, whole);
        let killed = running.is_running();
        running.signal("KILL");
        let run = running.wait();
        assert!(
            run.code.is_none() || run.code == Some(0),
            "{moment:?}: {run}"
        );
        kills += usize::from(killed);
    }
    let last = start().run().expect_code(0);
    // A checkpoint is written in one go: none is ever found damaged.
    assert!(!last.stderr.contains("left out"), "{last}");
    kills
}

/// What must hold for a run that was ended and gone on with.
fn check_results(workspace: &Workspace, one: &str, moments: &dyn std::fmt::Debug) {
    let found = difference(workspace, "whole", one);
    assert_eq!(found, None, "{one}, ended at {moments:?}");
    for file in ["metrics.jsonl", "completions.jsonl"] {
        let text = workspace.read(format!("{one}/{file}"));
        let mut seen = HashSet::new();
        for line in text.lines() {
            let mut row: Value = serde_json::from_str(line).expect("a row is whole");
            // A step has several responses, and a row of its own for held-out numbers.
            let tags: Vec<String> = row
                .as_object()
                .into_iter()
                .flatten()
                .map(|(tag, _)| tag.clone())
                .collect();
            let key = (
                row["stage"].take(),
                row["step"].take(),
                row["id"].take(),
                tags,
            );
            assert!(seen.insert(format!("{key:?}")), "{file} has {key:?} twice");
        }
    }
    let folder = workspace.join(one);
    let checkpoints = checkpoint::all(&folder);
    assert!((1..=2).contains(&checkpoints.len()), "{checkpoints:?}");
    for (_, path) in &checkpoints {
        checkpoint::check(path).expect("it is whole");
    }
    let names = std::fs::read_dir(&folder).expect("the run's folder");
    let hidden: Vec<_> = names
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(hidden.is_empty(), "left over: {hidden:?}");
}

fn check(method: &str, rounds: &[&[Moment]]) -> usize {
    let workspace = workspace();
    let whole = run(&workspace, method, "whole", &[]).run().expect_code(0);
    let mut kills = 0;
    for (number, moments) in rounds.iter().enumerate() {
        let name = format!("killed-{number}");
        kills += killed(&workspace, method, &name, moments, whole.elapsed);
        check_results(&workspace, &name, moments);
    }
    kills
}

// Would catch a file that a kill leaves cut or doubled, a checkpoint that is taken although it is
// not whole, and any state that one forgets.
#[test]
fn killed_runs_end_in_the_same_bytes() {
    use Moment::{Behind, Time, Writing};
    for method in ["dpo", "ppo"] {
        let kills = check(method, &[&[Time(0.5), Behind(4, 25), Writing(2)]]);
        assert!(
            kills >= 2,
            "{method}: {kills} of 3 kills came before the end"
        );
    }
}

// The same at many moments.
#[test]
#[ignore = "two hundred runs, a minute; `cargo xtask deep` has the time"]
fn runs_killed_at_any_moment_end_in_the_same_bytes() {
    for (number, method) in (0..).zip(["dpo", "ppo"]) {
        let mut rng = Stream::new(2026, Purpose::Split, number, 0);
        let rounds: Vec<Vec<Moment>> = (0..20)
            .map(|_| (0..4).map(|_| Moment::random(&mut rng)).collect())
            .collect();
        let rounds: Vec<&[Moment]> = rounds.iter().map(Vec::as_slice).collect();
        let kills = check(method, &rounds);
        println!("{method}: {kills} of 80 kills came before the end");
        // A run that is nearly done when it is gone on with ends before most moments.
        assert!(
            kills >= rounds.len(),
            "{method}: {kills} of 80 kills came before the end"
        );
    }
}

// Would catch a signal that loses the steps so far, or another exit code.
#[test]
fn a_signal_leaves_a_checkpoint() {
    let workspace = workspace();
    for method in ["dpo", "ppo"] {
        let whole = run(&workspace, method, "whole", &["--overwrite"]).run();
        whole.expect_code(0);
        for signal in ["INT", "TERM"] {
            let name = format!("{method}-{signal}");
            // A run may have done its last step before the signal reaches it.
            let found = (0..10)
                .map(|_| checkpoint_of_signal(&workspace, method, &name, signal))
                .find(|found| found != "checkpoint-10")
                .expect("a signal reaches a run before its last step");
            let told = format!("going on from {name}/{found}");
            let resumed = run(&workspace, method, &name, &["--resume"]).run();
            resumed.expect_code(0).expect_stderr(&told);
            check_results(&workspace, &name, &signal);
        }
    }
}

/// Runs a method from its beginning, sends a signal after its third step, and names the
/// checkpoint that the signal left: there is no other.
fn checkpoint_of_signal(workspace: &Workspace, method: &str, name: &str, signal: &str) -> String {
    // An earlier one's rows would say that the third step is done.
    let _ = std::fs::remove_dir_all(workspace.join(name));
    let mut running = run(workspace, method, name, &["--save-steps", "0"]).start();
    let rows = workspace.join(name).join("metrics.jsonl");
    let step = format!("\"stage\":\"{method}\",\"step\":3,");
    let came = running
        .wait_until(|| std::fs::read_to_string(&rows).is_ok_and(|text| text.contains(&step)));
    assert!(came, "{method} ended before its third step");
    running.signal(signal);
    running
        .wait()
        .expect_code(130)
        .expect_stderr("interrupted: finishing the step; once more stops at once")
        .expect_stderr("hint: the same command with --resume goes on with it");
    let newest = checkpoint::latest(&workspace.join(name)).expect("a checkpoint");
    let name = newest.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

// Would catch a second Ctrl-C that is not heard.
#[test]
fn a_second_signal_stops_at_once() {
    let workspace = workspace();
    // One step takes minutes, most of them in its updates.
    let long = workspace.read("small.toml");
    let long = long.replace("[training]\n", "[training]\nppo_epochs = 100000\n");
    workspace.write("small.toml", long);
    let mut running = run(&workspace, "ppo", "out", &[]).start();
    let rows = workspace.join("out/completions.jsonl");
    let sampled = || std::fs::read_to_string(&rows).is_ok_and(|text| text.contains("\"ppo\""));
    assert!(
        running.wait_until(sampled),
        "it ended before its first step"
    );
    running.signal("INT");
    std::thread::sleep(Duration::from_millis(100));
    running.signal("INT");
    let run = running.wait().expect_code(130);
    assert!(!run.stderr.contains("what was done lies in"), "{run}");
}

// Would catch a warm-up that begins anew, settings that have to be given again, and checkpoints of
// a warm-up that stay behind it.
#[test]
fn a_warm_up_goes_on_with_the_settings_it_was_begun_with() {
    let workspace = workspace();
    run(&workspace, "ppo", "whole", &[]).run().expect_code(0);
    let mut running = run(&workspace, "ppo", "cut", &[]).start();
    let rows = workspace.join("cut/metrics.jsonl");
    let step = "\"stage\":\"warm-up\",\"step\":3,";
    let came =
        running.wait_until(|| std::fs::read_to_string(&rows).is_ok_and(|text| text.contains(step)));
    assert!(came, "it ended before the third step of its warm-up");
    running.signal("INT");
    running.wait().expect_code(130);
    let newest = checkpoint::latest(&workspace.join("cut/warm-up")).expect("a checkpoint");
    let found = newest
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    // Nothing but where it lies.
    let resumed = crate::job::bare(&workspace)
        .args(["--output-dir", "cut", "--resume"])
        .run();
    resumed
        .expect_code(0)
        .expect_stderr(&format!("going on from cut/warm-up/{found}"));
    assert!(!workspace.join("cut/warm-up").exists());
    check_results(&workspace, "cut", &"warm-up");
}

// The same for a reward model of its own.
#[test]
fn a_reward_model_goes_on_where_it_was() {
    let workspace = workspace();
    let train = |folder: &str, more: &[&str]| {
        crate::job::bare(&workspace)
            .args(["reward", "train", "--human-feedback-path", "pairs.csv"])
            .args(["--output-dir", folder])
            .args(more)
    };
    let model = crate::job::model();
    let model = model.to_str().expect("a path of text");
    let settings = [
        ["--reward-model-name", model],
        ["--epochs", "4"],
        ["--batch-size", "2"],
        ["--learning-rate", "1e-3"],
        ["--save-steps", "4"],
    ];
    let settings = settings.concat();
    train("whole", &settings).run().expect_code(0);
    let mut running = train("cut", &settings).start();
    let rows = workspace.join("cut/metrics.jsonl");
    let came = running.wait_until(|| {
        std::fs::read_to_string(&rows).is_ok_and(|text| text.contains("\"step\":9,"))
    });
    assert!(came, "it ended before its ninth step");
    running.signal("KILL");
    running.wait();
    let newest = checkpoint::latest(&workspace.join("cut")).expect("a checkpoint");
    let found = newest
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    train("cut", &["--resume"])
        .run()
        .expect_code(0)
        .expect_stderr(&format!("going on from cut/{found}"));
    for file in ["metrics.jsonl", "summary.json", "final/model.safetensors"] {
        let of = |folder: &str| std::fs::read(workspace.join(folder).join(file)).expect("a file");
        assert!(of("whole") == of("cut"), "{file} differs");
    }
}
