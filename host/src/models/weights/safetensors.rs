//! safetensors: a JSON header that says where each tensor lies.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::Error;
use super::stored::{Element, Stored};

/// Longest header; the format's own limit.
const HEADER_MAX: u64 = 100_000_000;

/// The tensors of a file of `length` bytes.
pub(super) fn tensors(
    path: &Path,
    file: &mut File,
    length: u64,
) -> Result<Vec<(String, Stored)>, Error> {
    let broken = |message: String| Error::Broken {
        file: path.into(),
        message,
    };
    let cut = || {
        broken(format!(
            "is cut short, or no safetensors file ({length} bytes)"
        ))
    };
    let mut size = [0; 8];
    if length < 8 {
        return Err(cut());
    }
    file.read_exact(&mut size)
        .map_err(|e| broken(e.to_string()))?;
    let header_size = u64::from_le_bytes(size);
    if header_size > HEADER_MAX {
        return Err(broken(
            "is no safetensors file: its header has no end".into(),
        ));
    }
    if header_size > length - 8 {
        return Err(cut());
    }
    let mut header = vec![0; header_size as usize];
    file.read_exact(&mut header)
        .map_err(|e| broken(e.to_string()))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| broken(format!("is no safetensors file: {e}")))?;
    let begin = 8 + header_size;
    match (metadata.data_len() as u64).checked_add(begin) {
        Some(end) if end == length => {}
        Some(end) if end < length => {
            return Err(broken(format!(
                "has {} bytes after its last tensor",
                length - end
            )));
        }
        _ => return Err(cut()),
    }
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let element = match info.dtype {
            Dtype::F64 => Element::F64,
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::BF16,
            other => Element::Other(format!("{other:?}")),
        };
        let stored = Stored {
            element,
            shape: info.shape.clone(),
            strides: None,
            offset: begin + info.data_offsets.0 as u64,
            pairs: None,
        };
        (name, stored)
    });
    Ok(tensors.collect())
}
