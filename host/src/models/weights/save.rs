//! What we save: model folders that transformers loads.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::{CONFIG, Error, INDEX, SINGLE};
use crate::models::Parameter;

/// Largest part of a saved model: what transformers had as its default up to version 4, below
/// the limits of file systems and of uploads.
const PART_BYTES_MAX: usize = 5_000_000_000;

/// Writes a model folder under another name and renames it. `extras` comes last, and finds the
/// model's own files.
///
/// # Errors
/// [`Error::Write`]; what was there before is then still there.
pub(in crate::models) fn save(
    folder: &Path,
    config: &Value,
    generation: &Value,
    parameters: &[&Parameter],
    extras: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Write {
        folder: folder.into(),
        message: e.to_string(),
    };
    let mut config = config.clone();
    if let Some(keys) = config.as_object_mut() {
        keys.remove("torch_dtype");
        keys.insert("dtype".into(), json!("float32"));
    }
    replace_folder(folder, |partial| {
        write_json(&partial.join(CONFIG), &config)?;
        write_json(&partial.join("generation_config.json"), generation)?;
        let tensors = parameters.iter().map(|p| (p.name.as_str(), &p.value));
        write_parts(partial, &tensors.collect::<Vec<_>>(), PART_BYTES_MAX)?;
        extras(partial)
    })
    .map_err(|e| failed(&e))
}

/// Writes `model.safetensors`, or parts of at most `bytes_max` and their index; a tensor that is
/// larger has a part of its own.
pub(super) fn write_parts(
    folder: &Path,
    tensors: &[(&str, &Tensor)],
    bytes_max: usize,
) -> io::Result<()> {
    let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
    let mut parts: Vec<(usize, Vec<(&str, &Tensor)>)> = Vec::new();
    for (name, tensor) in tensors {
        let size = bytes(tensor);
        match parts.last_mut() {
            Some((sum, part)) if *sum + size <= bytes_max => {
                *sum += size;
                part.push((name, tensor));
            }
            _ => parts.push((size, vec![(name, tensor)])),
        }
    }
    let metadata = [("format", "pt")];
    if parts.len() < 2 {
        return write_safetensors(&folder.join(SINGLE), tensors.iter().copied(), &metadata);
    }
    let mut map = serde_json::Map::new();
    for (number, (_, part)) in parts.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, parts.len());
        write_safetensors(&folder.join(&file), part.iter().copied(), &metadata)?;
        map.extend(
            part.iter()
                .map(|(name, _)| ((*name).to_owned(), json!(file))),
        );
    }
    let total: usize = parts.iter().map(|(sum, _)| sum).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": map});
    write_json(&folder.join(INDEX), &index)
}

/// Writes tensors and text metadata as one safetensors file.
///
/// # Errors
/// The file cannot be written.
pub fn write_safetensors<'a>(
    file: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    metadata: &[(&str, &str)],
) -> io::Result<()> {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let tensors: Vec<(&str, &Tensor)> = tensors.collect();
    safetensors::serialize_to_file(tensors, Some(metadata), file).map_err(io::Error::other)
}

/// Writes indented JSON with a newline at its end.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(file: &Path, value: &Value) -> io::Result<()> {
    fs::write(file, serde_json::to_string_pretty(value)? + "\n")
}

/// Has `write` fill a folder beside `folder`, then puts it in its place. It is on the disk by then:
/// neither an end of the process nor one of the machine leaves half a folder under this name.
///
/// # Errors
/// Whatever `write` met, or a rename; the partial folder is removed.
pub fn replace_folder(
    folder: &Path,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let name = folder
        .file_name()
        .ok_or_else(|| io::Error::other("the path names no folder"))?
        .to_string_lossy();
    let parent = folder
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let beside = |kind: &str| parent.join(format!(".{name}.{kind}-{}", std::process::id()));
    let (partial, old) = (beside("partial"), beside("old"));
    for left_over in [&partial, &old] {
        if left_over.exists() {
            fs::remove_dir_all(left_over)?;
        }
    }
    fs::create_dir(&partial)?;
    let result = write(&partial).and_then(|()| {
        sync(&partial)?;
        if folder.exists() {
            fs::rename(folder, &old)?;
            if let Err(e) = fs::rename(&partial, folder) {
                fs::rename(&old, folder)?;
                return Err(e);
            }
            return fs::remove_dir_all(&old);
        }
        fs::rename(&partial, folder)
    });
    match &result {
        Ok(()) => sync_names(parent),
        // The first error is the one to report.
        Err(_) => drop(fs::remove_dir_all(&partial)),
    }
    result
}

/// Removes what processes that were ended in [`replace_folder`] left beside their folders.
///
/// # Errors
/// The folder can't be read, or something in it not be removed.
pub fn remove_partial(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kind = name
            .strip_prefix('.')
            .and_then(|name| name.rsplit_once('.'));
        let numbered = |kind: &str| {
            let number = ["partial-", "old-"]
                .iter()
                .find_map(|k| kind.strip_prefix(k));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        if path.is_dir() && kind.is_some_and(|(_, kind)| numbered(kind)) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Has the system write everything below a folder to the disk.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync(&entry.path())?,
            false => fs::File::open(entry.path())?.sync_all()?,
        }
    }
    sync_names(folder);
    Ok(())
}

/// The same for a folder's own list of names. Not every system has that, and then there is
/// nothing to do.
fn sync_names(folder: &Path) {
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
}
