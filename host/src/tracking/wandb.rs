//! A run for Weights & Biases, written as their own library writes one offline:
//! `wandb/offline-run-TIME-ID/run-ID.wandb`, which `wandb sync` uploads.
//!
//! The file is a log of records in blocks of 32 KiB, after LevelDB's, with CRC-32 in place of
//! CRC-32C and a header of 7 bytes (`wandb/sdk/internal/datastore.py` of wandb 0.19.11; 0.31.0
//! writes the same); a record is a `Record` of `wandb_internal.proto`, whose field numbers are
//! given beside their use.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::checksum::crc32;
use super::protobuf::Message;
use super::tensorboard::Histogram;
use super::{Text, Tracker};
use crate::calendar;
use crate::config::tracking::{Tracking, Wandb as Mode};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// `:W&B`, the magic number 0xBEE1, version 0.
const FILE_HEADER: [u8; HEADER] = [b':', b'W', b'&', b'B', 0xe1, 0xbe, 0];
/// The oldest wandb that reads such files, as wandb 0.31.0 says of its own.
const MIN_CONSUMER: &str = "0.70.0";
/// A part of a record: all of it, its first, a middle or its last.
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Writes one offline run.
pub struct Wandb {
    log: RecordLog<BufWriter<File>>,
    folder: PathBuf,
    mode: Mode,
    main: String,
    stage: String,
    /// Records so far.
    records: u64,
    /// Rows of the history so far.
    rows: u64,
    started: f64,
    broken: bool,
}

impl Wandb {
    /// A new offline run in `folder/wandb`. One that an earlier process of the same run left there
    /// is replaced, and its id goes on: what it said is in `metrics.jsonl`, and is told again.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn create(
        folder: &Path,
        name: &str,
        main: &str,
        settings: &Tracking,
        config: &Value,
    ) -> std::io::Result<Self> {
        let started = now();
        let all = folder.join("wandb");
        std::fs::create_dir_all(&all)?;
        let mut id = new_id(name, started);
        for entry in std::fs::read_dir(&all)? {
            let entry = entry?;
            let earlier = entry.file_name().to_string_lossy().into_owned();
            if let Some((_, old)) = earlier
                .strip_prefix("offline-run-")
                .and_then(|rest| rest.rsplit_once('-'))
            {
                id = old.to_owned();
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        let folder = all.join(format!("offline-run-{}-{id}", stamp(started as u64)));
        std::fs::create_dir_all(folder.join("files"))?;
        std::fs::create_dir_all(folder.join("logs"))?;
        let file = File::create(folder.join(format!("run-{id}.wandb")))?;
        let mut this = Self {
            log: RecordLog::new(BufWriter::new(file))?,
            folder,
            mode: settings.wandb,
            main: main.to_owned(),
            stage: String::new(),
            records: 0,
            rows: 0,
            started,
            broken: false,
        };
        this.begin(&id, name, settings, config);
        Ok(this)
    }

    fn begin(&mut self, id: &str, name: &str, settings: &Tracking, config: &Value) {
        // HeaderRecord.version_info: VersionInfo { producer = 1, min_consumer = 2 }.
        let producer = format!("rlhf {}", env!("CARGO_PKG_VERSION"));
        let version = Message::new().string(1, &producer).string(2, MIN_CONSUMER);
        self.record(21, &Message::new().message(1, &version));
        // ConfigRecord.update: ConfigItem { key = 1, value_json = 16 }.
        let mut items = Message::new();
        for (key, value) in config.as_object().into_iter().flatten() {
            let item = Message::new().string(1, key).string(16, &value.to_string());
            items = items.message(1, &item);
        }
        // RunRecord { run_id = 1, entity = 2, project = 3, config = 4, job_type = 7,
        // display_name = 8, start_time = 17: Timestamp { seconds = 1, nanos = 2 } }.
        let start = Message::new()
            .varint(1, self.started as u64)
            .varint(2, (self.started.fract() * 1e9) as u64);
        let mut run = Message::new().string(1, id);
        if let Some(entity) = &settings.wandb_entity {
            run = run.string(2, entity);
        }
        let run = run
            .string(3, &settings.wandb_project)
            .message(4, &items)
            .string(7, &self.main)
            .string(8, name)
            .message(17, &start);
        self.record(17, &run);
    }

    /// A `Record { num = 1 }` with `content` in the field of its sort.
    fn record(&mut self, field: u32, content: &Message) {
        self.records += 1;
        let record = Message::new()
            .varint(1, self.records)
            .message(field, content);
        if let Err(error) = self.log.push(record.encoded())
            && !self.broken
        {
            self.broken = true;
            tracing::error!("the Weights & Biases file can no longer be written: {error}");
        }
    }

    /// A row of the history: HistoryRecord.item: HistoryItem { nested_key = 2, value_json = 16 }.
    fn row(&mut self, values: Vec<(Vec<&str>, Value)>) {
        let (step, time) = (self.rows, now());
        self.rows += 1;
        let own = [
            (vec!["_step"], json!(step)),
            (vec!["_timestamp"], json!(time)),
            (vec!["_runtime"], json!(time - self.started)),
        ];
        let mut history = Message::new();
        for (key, value) in values.into_iter().chain(own) {
            let item = key
                .iter()
                .fold(Message::new(), |item, part| item.string(2, part))
                .string(16, &value.to_string());
            history = history.message(1, &item);
        }
        self.record(2, &history);
    }

    fn tag(&self, tag: &str) -> String {
        super::stage_tag(&self.main, &self.stage, tag)
    }
}

impl Tracker for Wandb {
    fn stage(&mut self, name: &str, _total: u64, _unit: &str) {
        name.clone_into(&mut self.stage);
    }

    fn progress(&mut self, _done: u64) {}

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let tags: Vec<(String, f64)> = values
            .iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(tag, value)| (self.tag(tag), *value))
            .collect();
        if tags.is_empty() {
            return;
        }
        let step_tag = self.tag("global_step");
        let mut row: Vec<(Vec<&str>, Value)> = tags
            .iter()
            .map(|(tag, value)| (vec![tag.as_str()], json!(value)))
            .collect();
        row.push((vec![&step_tag], json!(step)));
        self.row(row);
    }

    fn warn(&mut self, _message: &str) {}

    fn texts(&mut self, _step: u64, _tag: &str, _texts: &[Text]) {
        // Tables of theirs are files that an upload must accompany; `completions.jsonl` has them.
    }

    fn histogram(&mut self, _step: u64, tag: &str, values: &[f64]) {
        let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let Some(histogram) = Histogram::of(&values) else {
            return;
        };
        let tag = format!("{}_histogram", self.tag(tag));
        self.row(vec![
            (vec![&tag, "_type"], json!("histogram")),
            (vec![&tag, "values"], json!(histogram.counts)),
            (vec![&tag, "bins"], json!(histogram.edges)),
        ]);
    }

    fn finish(&mut self, results: &[(String, f64)]) {
        // SummaryRecord.update: SummaryItem { key = 1, value_json = 16 }.
        let mut summary = Message::new();
        for (key, value) in results.iter().filter(|(_, value)| value.is_finite()) {
            let item = Message::new()
                .string(1, key)
                .string(16, &json!(value).to_string());
            summary = summary.message(1, &item);
        }
        self.record(3, &summary);
        // RunExitRecord { exit_code = 1, runtime = 2 }.
        let exit = Message::new().varint(2, (now() - self.started) as u64);
        self.record(18, &exit);
        if let Err(error) = self.log.out.flush() {
            tracing::error!("the Weights & Biases file could not be written to its end: {error}");
        }
        if self.mode == Mode::Online {
            sync(&self.folder);
        }
    }
}

/// Uploads an offline run with the user's own program, which has the user's key.
fn sync(folder: &Path) {
    let status = std::process::Command::new("wandb")
        .arg("sync")
        .arg(folder)
        .stdout(std::process::Stdio::null())
        .status();
    let again = format!("`wandb sync {}` uploads it later", folder.display());
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::error!("`wandb sync` ended with {status}; {again}"),
        Err(error) => tracing::error!("cannot start `wandb`: {error}; {again}"),
    }
}

/// A log of records in blocks.
struct RecordLog<W> {
    out: W,
    /// Bytes so far.
    written: usize,
}

impl<W: Write> RecordLog<W> {
    fn new(mut out: W) -> std::io::Result<Self> {
        out.write_all(&FILE_HEADER)?;
        Ok(Self {
            out,
            written: HEADER,
        })
    }

    /// Adds a record, in parts where it does not fit into what is left of the block.
    fn push(&mut self, mut record: &[u8]) -> std::io::Result<()> {
        let mut first = true;
        loop {
            let mut room = BLOCK - self.written % BLOCK;
            if room < HEADER {
                self.out.write_all(&[0; HEADER][..room])?;
                self.written += room;
                room = BLOCK;
            }
            let length = record.len().min(room - HEADER);
            let (part, rest) = record.split_at(length);
            let kind = match (first, rest.is_empty()) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            self.out.write_all(&crc32(&[&[kind], part]).to_le_bytes())?;
            // A part is no longer than a block.
            self.out.write_all(&(length as u16).to_le_bytes())?;
            self.out.write_all(&[kind])?;
            self.out.write_all(part)?;
            self.written += HEADER + length;
            (first, record) = (false, rest);
            if rest.is_empty() {
                return self.out.flush();
            }
        }
    }
}

/// Eight letters and digits that no other run has: of its name, the time and the process.
fn new_id(name: &str, time: f64) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let seed = format!("{name} {time} {}", std::process::id());
    let digest = Sha256::digest(seed.as_bytes());
    let letters = digest.iter().take(8);
    letters
        .map(|byte| char::from(LETTERS[usize::from(*byte) % 36]))
        .collect()
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Seconds since 1970 as `20261125_233118`, UTC.
fn stamp(seconds: u64) -> String {
    let (year, month, day) = calendar::date(seconds / 86_400);
    let second = seconds % 86_400;
    format!(
        "{year:04}{month:02}{day:02}_{:02}{:02}{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch parts of a stamp that change places, or lose their zeros.
    #[test]
    fn stamps_are_dates() {
        let check = |seconds: u64, expected: &str| assert_eq!(stamp(seconds), expected);
        check(0, "19700101_000000");
        check(951_782_399, "20000228_235959");
        check(4_107_542_400, "21000301_000000");
    }

    /// Would catch parts that cross a block, or a padding that is none: the log is read back by
    /// LevelDB's rules.
    #[test]
    fn records_keep_to_blocks() {
        let lengths = [10, BLOCK - 40, 0, 3 * BLOCK, BLOCK - HEADER, 5];
        let records: Vec<Vec<u8>> = (0u8..)
            .zip(lengths)
            .map(|(at, length)| vec![at + 1; length])
            .collect();
        let mut log = RecordLog::new(Vec::new()).expect("memory has room");
        for record in &records {
            log.push(record).expect("memory has room");
        }
        assert_eq!(log.out.len(), log.written);
        let mut at = HEADER;
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut whole = Vec::new();
        while at < log.out.len() {
            let room = BLOCK - at % BLOCK;
            if room < HEADER {
                assert!(log.out[at..at + room].iter().all(|byte| *byte == 0));
                at += room;
                continue;
            }
            let header = &log.out[at..at + HEADER];
            let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
            assert!(HEADER + length <= room, "a part crosses a block");
            let part = &log.out[at + HEADER..at + HEADER + length];
            let sum = crc32(&[&header[6..7], part]);
            assert_eq!(header[..4], sum.to_le_bytes());
            whole.extend(part);
            if [FULL, LAST].contains(&header[6]) {
                found.push(std::mem::take(&mut whole));
            }
            at += HEADER + length;
        }
        assert_eq!(found, records);
    }
}
