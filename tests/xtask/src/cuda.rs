//! `cargo xtask check-cuda`: does the code for CUDA type-check, on a machine without CUDA?
//!
//! `cargo check` needs of the CUDA toolkit only what the build scripts below candle call: nvcc,
//! whose results it embeds or names to a linker that never runs. A stand-in that leaves empty
//! results is enough. What this proves is that the Rust side of the CUDA build type-checks, ours
//! and candle's; no kernel is compiled, nothing is linked, nothing runs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace::{cargo, run, say, target_dir};

/// Empty files where outputs are asked for, and a version for who asks.
const NVCC: &str = r#"#!/bin/sh
# Stands in for nvcc where only Rust is type-checked: see tests/xtask/src/cuda.rs.
for argument in "$@"; do
    case "$argument" in
    --version) echo "Cuda compilation tools, release 13.2, V13.2.0" ;;
    esac
done
source=""
ptx=""
directory="."
output=""
while [ $# -gt 0 ]; do
    case "$1" in
    -o | --output-file) output="$2"; shift ;;
    --output-directory | -odir) directory="$2"; shift ;;
    --ptx | -ptx) ptx=1 ;;
    *.cu) source="$1" ;;
    esac
    shift
done
if [ -z "$output" ] && [ -n "$source" ] && [ -n "$ptx" ]; then
    output="$directory/$(basename "$source" .cu).ptx"
fi
if [ -n "$output" ]; then : >"$output"; fi
"#;

/// The toolkit that candle's bindings are made for, as `cudarc` writes it.
const CUDA_VERSION: &str = "13020";
/// Ampere: the oldest with bfloat16 products. Any would do.
const COMPUTE_CAPABILITY: &str = "80";

/// Type-checks the host with its feature `cuda`.
///
/// In a target directory of its own: a build with the real toolkit must never find the stand-in's
/// empty kernels. That makes it check every dependency once more, three minutes from nothing, which
/// is why it is no part of the linters.
///
/// # Errors
/// It doesn't type-check, or the stand-in can't be written.
pub fn check() -> Result<()> {
    let target = target_dir()?.join("check-cuda");
    let toolkit = target.join("toolkit");
    write_stand_in(&toolkit)?;
    say(
        "type-checking the feature `cuda` (Rust only: nvcc is a stand-in, nothing is compiled for a GPU)",
    );
    run(cargo()
        .args(["check", "--package", "rlhf", "--lib", "--bins"])
        .args(["--features", "cuda"])
        .arg("--target-dir")
        .arg(&target)
        .env("NVCC", toolkit.join("bin/nvcc"))
        .env("CUDA_HOME", &toolkit)
        .env("CUDA_PATH", &toolkit)
        .env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY)
        .env("CUDARC_CUDA_VERSION", CUDA_VERSION))
}

fn write_stand_in(toolkit: &Path) -> Result<()> {
    let nvcc = toolkit.join("bin/nvcc");
    // Build scripts run again where the file is newer than their results.
    if fs::read_to_string(&nvcc).is_ok_and(|found| found == NVCC) {
        return Ok(());
    }
    for folder in ["bin", "include", "lib64"] {
        fs::create_dir_all(toolkit.join(folder)).context("the stand-in for CUDA")?;
    }
    fs::write(&nvcc, NVCC).with_context(|| nvcc.display().to_string())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&nvcc, fs::Permissions::from_mode(0o755))
            .with_context(|| nvcc.display().to_string())?;
    }
    Ok(())
}
