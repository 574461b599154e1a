//! Checks of data adapters.

use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{About, Check, Checking, Material, description, is_trouble};
use crate::plugin::data_adapter::{OpenError, Row, RowError};
use crate::plugin::{Component, DataAdapter, Error, Services, Spec};

/// Rows of an odd file that are looked at.
const ROWS_MAX: usize = 10_000;

pub(super) fn checks(
    component: Component,
    spec: &Spec,
    services: &Services,
    material: &Material,
) -> Result<(String, Vec<Check>), Error> {
    let adapter = DataAdapter::of(component.clone(), spec, services)?;
    let about = adapter.descriptor();
    let second = DataAdapter::of(component, spec, services)?;
    let again = second.descriptor();
    let mut described = description(
        &About {
            name: &about.name,
            version: &about.version,
            summary: &about.summary,
        },
        Ok((again.name.clone(), again.version.clone())),
    );
    let bad = |extension: &&String| extension.is_empty() || extension.starts_with('.');
    if about.extensions.is_empty() || about.extensions.iter().any(|extension| bad(&extension)) {
        let mut check = Checking::new("");
        check.problem(
            "",
            &about.extensions.join(", "),
            "expected at least one file name extension, each without its dot",
        );
        described.problems.extend(check.problems);
    }
    let mut checks = vec![described, odd_files(&adapter, material)?];
    let wanted = |path: &&std::path::PathBuf| {
        let only = material.only.as_ref();
        only.is_none_or(|only| path.display().to_string() == *only)
    };
    for path in material.data.iter().filter(wanted) {
        checks.push(real_file(&adapter, path));
    }
    Ok((about.name.clone(), checks))
}

type Rows = Vec<Result<Row, RowError>>;

fn read(adapter: &DataAdapter, path: &Path, batch: u32) -> Result<Rows, String> {
    let rows = adapter.open(path, serde_json::Map::new());
    let rows = rows.map_err(|error| error.to_string())?;
    rows.in_batches_of(batch)
        .take(ROWS_MAX)
        .map(|row| row.map_err(|failure| failure.to_string()))
        .collect()
}

/// Files that are not what they should be are refused with a reason, by name
/// or row by row, and never end in a trap.
fn odd_files(adapter: &DataAdapter, material: &Material) -> Result<Check, Error> {
    let mut check = Checking::new("odd files are refused with a reason");
    let nanoseconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos());
    let name = format!("rlhf-plugin-test-{}-{nanoseconds:x}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let unwritable = |source| Error::Read {
        plugin: folder.display().to_string(),
        source,
    };
    // Must be new, and ours alone: others can write to the folder it lies in.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(unwritable)?;
    let mut files: Vec<(String, Vec<u8>)> = super::odd_texts()
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .collect();
    files.push(("bytes".into(), (0..=255).cycle().take(100_000).collect()));
    files.push(("zeros".into(), vec![0; 100_000]));
    for path in &material.data {
        if let Ok(bytes) = beginning(path) {
            files.push((format!("{}, cut off", path.display()), bytes));
        }
    }
    let count = files.len();
    for (name, bytes) in files {
        if material.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        check.cases.push(name.clone());
        let path = folder.join("odd");
        std::fs::write(&path, &bytes).map_err(unwritable)?;
        let trouble = match adapter.open(&path, serde_json::Map::new()) {
            Err(OpenError::Plugin(failure)) => Some(failure),
            Err(OpenError::File(error)) => return Err(unwritable(error)),
            Ok(rows) => rows.take(ROWS_MAX).find_map(Result::err),
        };
        if let Some(failure) = trouble.filter(is_trouble) {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
            check.problem(&name, &shown, failure.to_string());
        }
    }
    check.note = format!("{count} files");
    // What is left behind in a folder for temporary files does no harm.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(check.done())
}

/// The first two thirds of a file, and not more than fit into memory easily.
fn beginning(path: &Path) -> std::io::Result<Vec<u8>> {
    const BYTES_MAX: u64 = 16 << 20;
    let file = std::fs::File::open(path)?;
    let length = (file.metadata()?.len() * 2 / 3).min(BYTES_MAX);
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file of the author's reads the same twice, and in batches of any size.
fn real_file(adapter: &DataAdapter, path: &Path) -> Check {
    let mut check = Checking::new("a data file reads the same in batches of any size");
    let name = path.display().to_string();
    check.cases.push(name.clone());
    let whole = match read(adapter, path, u32::MAX) {
        Ok(rows) => rows,
        Err(error) => {
            check.problem(&name, "", error);
            return check.done();
        }
    };
    let bad = whole.iter().filter(|row| row.is_err()).count();
    check.note = format!("{name}: {} rows, {bad} of them bad", whole.len());
    if let Some(Err(first)) = whole.iter().find(|row| row.is_err())
        && bad == whole.len()
    {
        check.problem(
            &name,
            "",
            format!(
                "expected a good row, found only bad ones: {}",
                first.message
            ),
        );
    }
    for batch in [1, 7] {
        match read(adapter, path, batch) {
            Ok(rows) if rows == whole => {}
            Ok(rows) => {
                let at = rows.iter().zip(&whole).position(|(a, b)| a != b);
                check.problem(
                    &name,
                    "",
                    format!(
                        "expected the same rows in batches of {batch}, found another one at row {}",
                        at.unwrap_or(rows.len().min(whole.len())) + 1
                    ),
                );
            }
            Err(error) => check.problem(&name, "", format!("in batches of {batch}: {error}")),
        }
    }
    check.done()
}
