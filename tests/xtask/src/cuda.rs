//! `cargo xtask cuda`: cargo with a toolkit for CUDA; and `cargo xtask check-cuda`: does the code for
//! CUDA type-check, on a machine without one?
//!
//! The toolkit comes from PyPI into the target directory, where none of the same release need be
//! installed. A program that is built with it starts on any machine (see `cuda/lazy.rs`), and finds
//! cuBLAS and cuRAND where the system has them or where the toolkit is.
//!
//! For the check, `cargo check` needs of the CUDA toolkit only what the build scripts below candle call: nvcc,
//! whose results it embeds or names to a linker that never runs. A stand-in that leaves empty
//! results is enough. What this proves is that the Rust side of the CUDA build type-checks, ours
//! and candle's; no kernel is compiled, nothing is linked, nothing runs.

mod lazy;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::first_party;
use crate::setup::{pip_install, tools};
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

/// NVIDIA's toolkit 13.0: the compiler and its headers, and what a program needs to run. Drivers of
/// this release and later ones take what it makes.
const TOOLKIT: [&str; 7] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cublas==13.0.2.14",
    "nvidia-curand==10.4.0.35",
];
/// [`TOOLKIT`]'s, as `cudarc` writes it.
const TOOLKIT_VERSION: &str = "13000";

/// Runs cargo with `arguments` and a toolkit for CUDA; with none, builds the host with its feature
/// `cuda` in release. `CUDA_COMPUTE_CAP` names the oldest card that is to run it, 80 by default.
///
/// # Errors
/// This is no Linux on x86-64, the toolkit can't be had, or cargo fails.
pub fn run_cargo(arguments: &[String]) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("cuda: the toolkit from PyPI is used on Linux and x86-64 only");
    }
    let toolkit = toolkit()?;
    let mut command = cargo();
    match arguments.is_empty() {
        true => command.args([
            "build",
            "--release",
            "--package",
            "rlhf",
            "--features",
            "cuda",
        ]),
        false => command.args(arguments),
    };
    command
        .env("NVCC", toolkit.join("bin/nvcc"))
        .env("CUDA_HOME", &toolkit)
        .env("CUDA_PATH", &toolkit)
        .env("CUDARC_CUDA_VERSION", TOOLKIT_VERSION);
    if std::env::var_os("CUDA_COMPUTE_CAP").is_none() {
        command.env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY);
    }
    first_party::apply(&mut command)?;
    run(&mut command)
}

/// The folder of the toolkit, installed where it is missing.
fn toolkit() -> Result<PathBuf> {
    let folder = tools().join("cuda-13.0");
    let inside = folder.join("nvidia/cu13");
    if folder.is_dir() {
        return Ok(inside);
    }
    say(&format!(
        "installing NVIDIA's toolkit 13.0 from PyPI (0.6 GB, 1.2 GB unpacked) into {}",
        folder.display()
    ));
    let fresh = tools().join(format!("cuda-{}", std::process::id()));
    fs::create_dir_all(&fresh).with_context(|| fresh.display().to_string())?;
    let whole = pip_install(&tools(), &TOOLKIT, &fresh)
        .and_then(|()| complete(&fresh.join("nvidia/cu13"), &inside.join("lib")));
    if whole.is_ok() {
        // Renamed, so that what is there is whole.
        fs::rename(&fresh, &folder).with_context(|| folder.display().to_string())?;
    }
    let _ = fs::remove_dir_all(&fresh);
    whole.context(
        "NVIDIA's toolkit can't be installed\n\
         hint: this needs python3 with pip or venv, a C compiler, and PyPI once",
    )?;
    Ok(inside)
}

/// Makes of the packages' folder what build scripts look for: executables that are, a library
/// folder of the usual name, and in it nothing that a linker would tie a program to.
fn complete(toolkit: &Path, libraries: &Path) -> Result<()> {
    #[cfg(unix)]
    for folder in ["bin", "nvvm/bin"] {
        use std::os::unix::fs::PermissionsExt;
        let folder = toolkit.join(folder);
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_file() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    let links = toolkit.join("lib64");
    lazy::write(&links, libraries)?;
    let runtime = toolkit.join("lib/libcudart_static.a");
    fs::copy(&runtime, links.join("libcudart.a")).with_context(|| runtime.display().to_string())?;
    Ok(())
}

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
