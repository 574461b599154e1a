//! From data files, or the embedded tasks, to what each stage needs.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::Error;
use super::plugins::Rankable;
use super::reward_model::Feedback;
use crate::config::Config;
use crate::data::sources::Adapters;
use crate::data::{Dataset, Demonstration, PreferencePair, Task, builtin, feedback, splits};
use crate::report::manifest::DataPin;

/// The files of a configuration, by what is in them.
///
/// # Errors
/// One can't be read.
pub fn pins(config: &Config) -> Result<Vec<DataPin>, Error> {
    let data = &config.data;
    let mut pins = Vec::new();
    for (key, path) in [
        ("data.train_data_path", &data.train_data_path),
        ("data.eval_data_path", &data.eval_data_path),
        ("data.human_feedback_path", &data.human_feedback_path),
    ] {
        let Some(path) = path else { continue };
        let name = path.display().to_string();
        let sha256 = sha256(path).map_err(|source| {
            let path = name.clone();
            Error::Data(crate::data::sources::Error::Open { path, source })
        })?;
        pins.push(DataPin {
            key,
            path: name,
            sha256,
        });
    }
    Ok(pins)
}

fn sha256(path: &std::path::Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Everything a run learns from and is judged by.
pub struct Examples {
    /// For the warm-up.
    pub demonstrations: Vec<Demonstration>,
    /// Human preferences, trained on and held out; `None`: they are made from the model's own samples.
    pub preferences: Option<(Vec<PreferencePair>, Vec<PreferencePair>)>,
    /// What people said of responses, for the reward model.
    pub feedback: Option<Feedback>,
    /// Prompts for the model's own samples, with references to rank them by.
    pub train_tasks: Vec<Task>,
    /// The same for pairs that are held out; not trained on, nor in the evaluation.
    pub development_tasks: Vec<Task>,
    /// Held out, for the evaluation.
    pub eval_tasks: Vec<Task>,
    /// One line a source, for the plan.
    pub sources: Vec<String>,
}

impl Examples {
    /// Reads the files of the configuration; the embedded tasks if there are none.
    ///
    /// # Errors
    /// A file can't be read, or nothing in it can be trained on.
    pub fn gather(config: &Config, adapters: Option<&Adapters>) -> Result<Self, Error> {
        let Some(adapters) = adapters else {
            return Ok(Self::embedded(config));
        };
        let mut sources = Vec::new();
        let columns: Vec<(String, String)> = config
            .data
            .columns
            .iter()
            .map(|(field, column)| (field.clone(), column.clone()))
            .collect();
        let mut read = |path: &Option<std::path::PathBuf>, what: &str| match path {
            None => Ok(Dataset::default()),
            Some(path) => {
                let data = adapters.read(path, &columns, config.data.on_bad_row)?;
                sources.push(format!("{what}: {}: {}", path.display(), data.summary()));
                sources.extend(
                    data.skipped_first
                        .iter()
                        .map(|row| format!("skipped: {row}")),
                );
                Ok::<_, Error>(data)
            }
        };
        let train = read(&config.data.train_data_path, "train")?;
        let feedback = read(&config.data.human_feedback_path, "human feedback")?;
        let eval = read(&config.data.eval_data_path, "evaluation")?;
        Self::of_files(config, train, feedback, eval, sources)
    }

    fn embedded(config: &Config) -> Self {
        let task = |task: &builtin::Task| Task {
            id: task.id.clone(),
            prompt: task.prompt.clone(),
            references: vec![task.reference.clone()],
            tests: task.tests.clone(),
        };
        let train_tasks: Vec<Task> = builtin::train().iter().map(task).collect();
        let development_tasks: Vec<Task> = builtin::development().iter().map(task).collect();
        let eval_tasks: Vec<Task> = builtin::heldout().iter().map(task).collect();
        let demonstrations = builtin::train()
            .iter()
            .flat_map(|task| {
                task.demonstrations().map(|response| Demonstration {
                    prompt: task.prompt.clone(),
                    response: response.to_owned(),
                })
            })
            .collect();
        let mut examples = Self {
            demonstrations,
            preferences: None,
            feedback: None,
            sources: vec![format!(
                "embedded tasks: {} to train on, {} for held-out preferences, {} held out",
                train_tasks.len(),
                development_tasks.len(),
                eval_tasks.len()
            )],
            train_tasks,
            development_tasks,
            eval_tasks,
        };
        examples.limit(config);
        examples
    }

    fn of_files(
        config: &Config,
        train: Dataset,
        feedback: Dataset,
        eval: Dataset,
        sources: Vec<String>,
    ) -> Result<Self, Error> {
        let (fraction, seed) = (config.data.eval_fraction, config.seed);
        let said = !feedback.preferences.is_empty() || !feedback.ratings.is_empty();
        let mut human = said.then(|| feedback.clone());
        let mut pairs = train.preferences;
        pairs.extend(feedback.preferences);
        let joined_as_is = !pairs.is_empty();
        let mut demonstrations = train.demonstrations;
        demonstrations.extend(feedback.demonstrations);
        // File by file: two files may rate on different scales.
        for ratings in [&train.ratings, &feedback.ratings] {
            pairs.extend(feedback::implied_pairs(ratings));
            demonstrations.extend(feedback::demonstrations(ratings));
        }

        // Nothing can be asked where there is no prompt: texts are learnt, and no more.
        let (texts, mut demonstrations): (Vec<_>, Vec<_>) = demonstrations
            .into_iter()
            .partition(|row| row.prompt.is_empty());
        let mut eval_tasks = eval.tasks;
        eval_tasks.extend(
            eval.demonstrations
                .iter()
                .filter(|row| !row.prompt.is_empty())
                .enumerate()
                .map(|(at, row)| Task {
                    id: format!("eval-{at}"),
                    prompt: row.prompt.clone(),
                    references: vec![row.response.clone()],
                    tests: Vec::new(),
                }),
        );
        let mut train_tasks = train.tasks;
        train_tasks.extend(demonstrations.iter().enumerate().map(|(at, row)| Task {
            id: format!("train-{at}"),
            prompt: row.prompt.clone(),
            references: vec![row.response.clone()],
            tests: Vec::new(),
        }));
        // Tasks with a reference can be imitated as well.
        if demonstrations.is_empty() {
            demonstrations.extend(
                train_tasks
                    .iter()
                    .filter(|task| !task.references.is_empty())
                    .map(demonstration),
            );
        }
        if pairs.is_empty() && train_tasks.is_empty() && texts.is_empty() {
            return Err(Error::Input(
                "the data have nothing to train on\nhint: give --train-data-path or --human-feedback-path a file with prompt,response or prompt,chosen,rejected".into(),
            ));
        }
        let preferences = if pairs.is_empty() {
            None
        } else {
            let split = splits::hold_out(pairs, |pair| &pair.prompt, fraction, seed);
            if split.1.is_empty() {
                return Err(Error::Input(format!(
                    "all {} preferences have the same prompt, so none can be held out\nhint: at least two prompts are needed",
                    split.0.len()
                )));
            }
            Some(split)
        };
        if eval_tasks.is_empty() {
            match &preferences {
                Some((_, held_out)) => {
                    eval_tasks = held_out
                        .iter()
                        .enumerate()
                        .map(|(at, pair)| Task {
                            id: format!("held-out-{at}"),
                            prompt: pair.prompt.clone(),
                            references: vec![pair.chosen.clone()],
                            tests: Vec::new(),
                        })
                        .collect();
                }
                None => {
                    (train_tasks, eval_tasks) =
                        splits::hold_out(train_tasks, |task| &task.prompt, fraction, seed);
                }
            }
        }
        // What is evaluated on must not have been imitated.
        let held_out: std::collections::HashSet<&str> =
            eval_tasks.iter().map(|task| task.prompt.as_str()).collect();
        demonstrations.retain(|row| !held_out.contains(row.prompt.as_str()));
        train_tasks.retain(|task| !held_out.contains(task.prompt.as_str()));
        let (train_tasks, development_tasks) = if preferences.is_none() {
            splits::hold_out(train_tasks, |task| &task.prompt, fraction, seed)
        } else {
            (train_tasks, Vec::new())
        };
        let mut train_tasks = train_tasks;
        if let (true, Some((pairs, _))) = (train_tasks.is_empty(), &preferences) {
            train_tasks = preferred(pairs);
        }
        if let (Some(human), false) = (&mut human, joined_as_is) {
            let pairs = human.preferences.iter_mut().map(|pair| &mut pair.prompt);
            let ratings = human.ratings.iter_mut().map(|rating| &mut rating.prompt);
            pairs.chain(ratings).for_each(separate);
        }
        let mut examples = Self {
            feedback: human.map(|human| Feedback::of([human])).transpose()?,
            demonstrations,
            preferences,
            train_tasks,
            development_tasks,
            eval_tasks,
            sources,
        };
        if !joined_as_is {
            examples.separate_prompts();
        }
        examples.demonstrations.extend(texts);
        examples.limit(config);
        Ok(examples)
    }

    /// All tasks, whatever they are for.
    pub fn tasks(&self) -> Vec<&Task> {
        let others = self.development_tasks.iter().chain(&self.eval_tasks);
        self.train_tasks.iter().chain(others).collect()
    }

    /// What the responses to prompts can be ranked by.
    pub fn rankable(&self) -> Rankable {
        let tasks = &self.train_tasks;
        Rankable {
            tests: tasks.iter().any(|task| !task.tests.is_empty()),
            references: tasks.iter().any(|task| !task.references.is_empty()),
        }
    }

    /// Puts a line break between prompt and response. The Python project's
    /// formats have bare sentences as prompts; where `prompt,chosen,rejected`
    /// rows are among the data, prompts are joined as they are, as TRL joins
    /// them; so are responses of which most begin with white space, as TRL's completions do. One
    /// rule holds for all files of a run.
    fn separate_prompts(&mut self) {
        let continues = |row: &&Demonstration| row.response.starts_with(char::is_whitespace);
        if 2 * self.demonstrations.iter().filter(continues).count() > self.demonstrations.len() {
            return;
        }
        for row in &mut self.demonstrations {
            separate(&mut row.prompt);
        }
        let tasks = [
            &mut self.train_tasks,
            &mut self.development_tasks,
            &mut self.eval_tasks,
        ];
        for task in tasks.into_iter().flatten() {
            separate(&mut task.prompt);
        }
        if let Some((train, held_out)) = &mut self.preferences {
            for pair in train.iter_mut().chain(held_out) {
                separate(&mut pair.prompt);
            }
        }
    }

    fn limit(&mut self, config: &Config) {
        if config.evaluation.tasks_max > 0 {
            self.eval_tasks.truncate(config.evaluation.tasks_max);
        }
    }
}

fn separate(prompt: &mut String) {
    if !prompt.ends_with(char::is_whitespace) {
        prompt.push('\n');
    }
}

/// Tasks from preferences, a prompt each: what was chosen is the reference.
fn preferred(pairs: &[PreferencePair]) -> Vec<Task> {
    let mut seen = std::collections::HashSet::new();
    let first = pairs.iter().filter(|pair| seen.insert(&pair.prompt));
    let task = |(at, pair): (usize, &PreferencePair)| Task {
        id: format!("train-{at}"),
        prompt: pair.prompt.clone(),
        references: vec![pair.chosen.clone()],
        tests: Vec::new(),
    };
    first.enumerate().map(task).collect()
}

fn demonstration(task: &Task) -> Demonstration {
    Demonstration {
        prompt: task.prompt.clone(),
        response: task.references[0].clone(),
    }
}

/// Whether any file was named.
pub fn has_files(config: &Config) -> bool {
    let data = &config.data;
    data.train_data_path.is_some()
        || data.eval_data_path.is_some()
        || data.human_feedback_path.is_some()
}
