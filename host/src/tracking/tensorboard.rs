//! TensorBoard's event files: scalars, texts, histograms and hyperparameters.
//!
//! Records are TFRecords (length, masked CRC-32C, data, masked CRC-32C) that hold `Event`
//! messages; field numbers are those of tensorboard 2.20's `event.proto`, `summary.proto` and
//! `hparams/plugin_data.proto`. Tags are those of `metrics.jsonl`; a stage before the one that
//! the run is about has its name before them (`warm-up/loss`), since both begin at step 1.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::checksum::{crc32c, masked};
use super::protobuf::Message;
use super::{Text, Tracker, settings};

/// Beginning of an event file's name, by which TensorBoard finds it.
pub const PREFIX: &str = "events.out.tfevents.";

/// Buckets of a histogram. TensorBoard shows 30 of them.
const BUCKETS: usize = 30;

/// Length of a response that is shown, in characters: what a person reads.
const TEXT_MAX: usize = 4000;

/// `DataType` of a tensor of strings, and of single-precision numbers.
const DT_STRING: u64 = 7;
const DT_FLOAT: u64 = 1;

/// `DataClass` of tensors.
const TENSORS: u64 = 2;

/// Writes one event file.
pub struct TensorBoard {
    out: BufWriter<File>,
    /// The stage that the run is about.
    main: String,
    stage: String,
    broken: bool,
}

impl TensorBoard {
    /// A new event file in `folder`, with the run's settings as its hyperparameters. Those that
    /// an earlier process left there are removed: what they said is in `metrics.jsonl`, and is
    /// told again.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn create(folder: &Path, main: &str, config: &Value) -> std::io::Result<Self> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                std::fs::remove_file(entry.path())?;
            }
        }
        let name = format!("{PREFIX}{}.rlhf.{}.0", now() as u64, std::process::id());
        let mut this = Self {
            out: BufWriter::new(File::create(folder.join(name))?),
            main: main.to_owned(),
            stage: String::new(),
            broken: false,
        };
        this.record(&event().string(3, "brain.Event:2"));
        this.hyperparameters(config);
        Ok(this)
    }

    /// A tag under which a number of the stage at hand is shown.
    fn tag(&self, tag: &str) -> String {
        super::stage_tag(&self.main, &self.stage, tag)
    }

    fn record(&mut self, event: &Message) {
        let data = event.encoded();
        let length = (data.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] = [
            &length,
            &masked(crc32c(&length)).to_le_bytes(),
            data,
            &masked(crc32c(data)).to_le_bytes(),
        ];
        let written = self.out.write_all(&parts.concat());
        if let Err(error) = written.and_then(|()| self.out.flush())
            && !self.broken
        {
            self.broken = true;
            tracing::error!("the TensorBoard file can no longer be written: {error}");
        }
    }

    fn summary(&mut self, step: u64, values: &[Message]) {
        if values.is_empty() {
            return;
        }
        let summary = values
            .iter()
            .fold(Message::new(), |summary, value| summary.message(1, value));
        self.record(&event().varint(2, step).message(5, &summary));
    }

    fn hyperparameters(&mut self, config: &Value) {
        let mut start = Message::new();
        let mut experiment = Message::new();
        for (key, value) in settings(config) {
            // google.protobuf.Value, and HParamInfo's DataType.
            let (value, kind) = match &value {
                Value::Number(number) => (
                    Message::new().double(2, number.as_f64().unwrap_or_default()),
                    3,
                ),
                Value::Bool(yes) => (Message::new().varint(4, u64::from(*yes)), 2),
                Value::String(text) => (Message::new().string(3, text), 1),
                other => (Message::new().string(3, &other.to_string()), 1),
            };
            let entry = Message::new().string(1, &key).message(2, &value);
            start = start.message(1, &entry);
            let info = Message::new().string(1, &key).varint(4, kind);
            experiment = experiment.message(4, &info);
        }
        for tag in ["eval/bleu", "eval/codebleu", "reward", "loss"] {
            let name = Message::new().string(2, tag);
            experiment = experiment.message(5, &Message::new().message(1, &name));
        }
        experiment = experiment.double(3, now());
        start = start.double(5, now());
        let values = [
            plugin_value("_hparams_/experiment", 2, &experiment),
            plugin_value("_hparams_/session_start_info", 3, &start),
        ];
        self.summary(0, &values);
    }
}

impl Tracker for TensorBoard {
    fn stage(&mut self, name: &str, _total: u64, _unit: &str) {
        name.clone_into(&mut self.stage);
    }

    fn progress(&mut self, _done: u64) {}

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let values: Vec<Message> = values
            .iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(tag, value)| {
                Message::new()
                    .string(1, &self.tag(tag))
                    .float(2, *value as f32)
            })
            .collect();
        self.summary(step, &values);
    }

    fn warn(&mut self, _message: &str) {}

    fn texts(&mut self, step: u64, tag: &str, texts: &[Text]) {
        let mut shown = String::new();
        for text in texts {
            let score = text.score.map(|score| format!(", worth {score:.4}"));
            shown.push_str(&format!("**Response**{}\n\n", score.unwrap_or_default()));
            // Code blocks by indentation: no text can end one.
            for part in [text.prompt, text.response] {
                let part: String = part.chars().take(TEXT_MAX).collect();
                for line in part.lines() {
                    shown.push_str("    ");
                    shown.push_str(line);
                    shown.push('\n');
                }
                shown.push_str("\n<!-- -->\n\n");
            }
        }
        let shape = Message::new().message(2, &Message::new().varint(1, 1));
        let tensor = Message::new()
            .varint(1, DT_STRING)
            .message(2, &shape)
            .string(8, &shown);
        let value = Message::new()
            .string(1, &format!("{}/text_summary", self.tag(tag)))
            .message(9, &text_metadata())
            .message(8, &tensor);
        self.summary(step, &[value]);
    }

    fn histogram(&mut self, step: u64, tag: &str, values: &[f64]) {
        let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let Some(histogram) = Histogram::of(&values) else {
            return;
        };
        let proto = Message::new()
            .double(1, histogram.low)
            .double(2, histogram.high)
            .double(3, values.len() as f64)
            .double(4, values.iter().sum())
            .double(5, values.iter().map(|value| value * value).sum())
            .doubles(6, &histogram.edges[1..])
            .doubles(7, &histogram.counts);
        let value = Message::new().string(1, &self.tag(tag)).message(5, &proto);
        self.summary(step, &[value]);
    }

    fn finish(&mut self, _results: &[(String, f64)]) {
        // STATUS_SUCCESS
        let end = Message::new().varint(1, 1).double(2, now());
        self.summary(0, &[plugin_value("_hparams_/session_end_info", 4, &end)]);
    }
}

/// How numbers are spread over buckets of equal width.
pub(super) struct Histogram {
    pub low: f64,
    pub high: f64,
    /// One more than counts.
    pub edges: Vec<f64>,
    pub counts: Vec<f64>,
}

impl Histogram {
    /// None for no numbers.
    pub fn of(values: &[f64]) -> Option<Self> {
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        // Numbers that are all the same are one bucket around them.
        let (first, last, buckets) = match low == high {
            true => (low - 0.5, high + 0.5, 1),
            false => (low, high, BUCKETS),
        };
        let width = (last - first) / buckets as f64;
        let mut counts = vec![0.0; buckets];
        for value in values {
            let at = ((value - first) / width) as usize;
            counts[at.min(buckets - 1)] += 1.0;
        }
        let mut edges: Vec<f64> = (0..=buckets).map(|at| first + at as f64 * width).collect();
        edges[buckets] = last;
        Some(Self {
            low,
            high,
            edges,
            counts,
        })
    }
}

/// `SummaryMetadata` of the text plugin.
fn text_metadata() -> Message {
    let plugin = Message::new().string(1, "text");
    Message::new().message(1, &plugin).varint(4, TENSORS)
}

/// A value of the hparams plugin: `data` in the field of its sort.
fn plugin_value(tag: &str, field: u32, data: &Message) -> Message {
    // HParamsPluginData, whose version is 0.
    let content = Message::new().message(field, data);
    let plugin = Message::new()
        .string(1, "hparams")
        .bytes(2, content.encoded());
    // What matters is in the metadata; TensorBoard's loader drops values without a tensor.
    let shape = Message::new().message(2, &Message::new().varint(1, 1));
    let tensor = Message::new()
        .varint(1, DT_FLOAT)
        .message(2, &shape)
        .float(5, 0.0);
    Message::new()
        .string(1, tag)
        .message(9, &Message::new().message(1, &plugin))
        .message(8, &tensor)
}

/// An event of this moment.
fn event() -> Message {
    Message::new().double(1, now())
}

/// Seconds since 1970; 0 on a machine whose clock stands before.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch numbers that fall out of a histogram.
    #[test]
    fn histograms_hold_every_number() {
        let check = |values: &[f64], buckets: usize| {
            let histogram = Histogram::of(values).expect("there are numbers");
            assert_eq!(histogram.counts.len(), buckets);
            assert_eq!(histogram.edges.len(), buckets + 1);
            assert_eq!(histogram.counts.iter().sum::<f64>(), values.len() as f64);
        };
        check(&[1.0, 1.0], 1);
        check(&[-1.0, 0.0, 0.1, 7.0], BUCKETS);
        assert!(Histogram::of(&[]).is_none());
    }
}
