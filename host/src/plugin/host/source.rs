//! `rlhf:plugin/source`: bytes of one file that the host opened.

use std::io::{Read, Seek, SeekFrom};

use cap_std::fs::File;
use wasmtime::component::Resource;

use crate::plugin::bindings::v0_1::source;
use crate::plugin::instance::State;

/// Largest piece handed over at once.
const READ_BYTES_MAX: u32 = 1 << 20;

/// An open file; the plugin holds a handle to it and knows no path. Its type
/// has no way to any other file.
pub struct Source {
    file: File,
    size: u64,
    position: u64,
}

impl Source {
    /// # Errors
    /// The file's size can't be read.
    pub fn new(file: File) -> std::io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self {
            file,
            size,
            position: 0,
        })
    }

    fn read_at(&mut self, offset: u64, length: u32) -> std::io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&mut self.file)
            .take(u64::from(length.min(READ_BYTES_MAX)))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl source::Host for State {}

impl source::HostSource for State {
    fn size(&mut self, handle: Resource<Source>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&handle)?.size)
    }

    fn read(
        &mut self,
        handle: Resource<Source>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let source = self.table.get_mut(&handle)?;
        let result = source.read_at(source.position, max);
        if let Ok(bytes) = &result {
            source.position += bytes.len() as u64;
        }
        Ok(result.map_err(|error| error.to_string()))
    }

    fn read_at(
        &mut self,
        handle: Resource<Source>,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let source = self.table.get_mut(&handle)?;
        if offset > source.size {
            // Systems refuse to go farther than files can reach.
            return Ok(Ok(Vec::new()));
        }
        Ok(source
            .read_at(offset, length)
            .map_err(|error| error.to_string()))
    }

    fn drop(&mut self, handle: Resource<Source>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}
