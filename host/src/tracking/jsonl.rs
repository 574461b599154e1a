//! `metrics.jsonl`: one JSON object a line, written as it is told.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};

use super::Tracker;

/// Writes every number of the run.
pub struct Jsonl<W: Write = File> {
    out: W,
    stage: String,
    /// What could not be written yet.
    pending: Vec<u8>,
    broken: bool,
}

impl Jsonl {
    /// Writes behind what is in the file, which is made where there is none.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn append(path: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(path)?;
        Ok(Self::to(out))
    }
}

impl<W: Write> Jsonl<W> {
    /// Writes to anything.
    pub fn to(out: W) -> Self {
        Self {
            out,
            stage: String::new(),
            pending: Vec::new(),
            broken: false,
        }
    }

    /// Writes what is pending, as far as it goes.
    fn write(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.out.write(&self.pending) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.flush()
    }
}

impl<W: Write> Tracker for Jsonl<W> {
    fn stage(&mut self, name: &str, _total: u64, _unit: &str) {
        name.clone_into(&mut self.stage);
    }

    fn progress(&mut self, _done: u64) {}

    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let mut line = Map::new();
        line.insert("stage".into(), self.stage.clone().into());
        line.insert("step".into(), step.into());
        for (tag, value) in values {
            // JSON has no NaN: null says that there was no number.
            let value = serde_json::Number::from_f64(*value).map_or(Value::Null, Value::Number);
            line.insert((*tag).to_owned(), value);
        }
        self.pending
            .extend(Value::Object(line).to_string().into_bytes());
        self.pending.push(b'\n');
        // A full disk must not end the training: rows wait until there is room. Say it once.
        match self.write() {
            Ok(()) if self.broken => {
                self.broken = false;
                tracing::warn!("metrics.jsonl can be written again, and nothing of it is lost");
            }
            Err(error) if !self.broken => {
                self.broken = true;
                tracing::error!("metrics.jsonl can't be written, and waits for room: {error}");
            }
            _ => {}
        }
    }

    fn warn(&mut self, _message: &str) {}
}

impl<W: Write> Drop for Jsonl<W> {
    fn drop(&mut self) {
        if let Err(error) = self.write() {
            let rows = self.pending.iter().filter(|byte| **byte == b'\n').count();
            tracing::error!("metrics.jsonl lacks its last {rows} rows: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A disk with room for so many bytes more.
    #[derive(Clone, Default)]
    struct Disk(Rc<RefCell<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.borrow_mut();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend(&bytes[..count]);
            *room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // Would catch rows that a full disk loses, or writes twice or cut once there is room again.
    #[test]
    fn rows_wait_for_room() {
        let disk = Disk::default();
        let mut jsonl = Jsonl::to(disk.clone());
        jsonl.stage("dpo", 9, "steps");
        let mut expected = String::new();
        for (step, room) in (1..).zip([1000, 10, 0, 5, 0, 1000]) {
            disk.0.borrow_mut().1 = room;
            jsonl.log(step, &[("loss", 0.5)]);
            expected += &format!("{{\"stage\":\"dpo\",\"step\":{step},\"loss\":0.5}}\n");
        }
        assert_eq!(String::from_utf8_lossy(&disk.0.borrow().0), expected);
    }
}
