//! What a machine needs beside rustup, Python 3 and a C toolchain.
//!
//! Two things: Rust's `wasm32-wasip2` target, and for plugins that compile C a
//! clang with a WebAssembly back end. One on the `PATH` is used; otherwise
//! `ziglang` from PyPI brings one, into the target directory and without root.
//! What plugins in Python need comes the same way; see `python.rs`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{root, run, say, shown};

/// What components are compiled for.
pub const WASM_TARGET: &str = "wasm32-wasip2";

/// The release that was tried; its clang is 22.1.
const ZIG_VERSION: &str = "0.17.1";

/// Newest first: Debian and Ubuntu name clang by its version only.
const CLANG_VERSIONS: std::ops::RangeInclusive<u32> = 14..=23;

/// What is slow in a component is its C; `cc` passes the profile's level before ours. A call in a
/// component looks after the stack and the fuel and saves registers for that, some 25 instructions,
/// so C is inlined beyond the compiler's own 250: at 1,000 what parses takes 6 % less time, at 600
/// 3 %, at 4,000 5 %.
const OPTIMISED: &str = "-O3 -DNDEBUG -mllvm -inline-threshold=1000";

/// The compiler for the C in components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmC {
    /// A script that behaves as clang does.
    pub cc: PathBuf,
    /// A script that behaves as ar does.
    pub ar: PathBuf,
}

impl WasmC {
    /// Tells the `cc` crate which compiler builds for components.
    pub fn apply(&self, command: &mut Command) {
        command
            .env("CC_wasm32_wasip2", &self.cc)
            .env("AR_wasm32_wasip2", &self.ar);
    }
}

/// Installs what is missing and says so.
///
/// # Errors
/// Something can't be installed; the error says what would help.
pub fn setup() -> Result<WasmC> {
    wasm_target()?;
    wasm_c()
}

fn wasm_target() -> Result<()> {
    let output = Command::new("rustc")
        .current_dir(root())
        .args(["--print", "target-libdir", "--target", WASM_TARGET])
        .output()
        .context("rustc: is Rust installed? see https://rustup.rs")?;
    let folder = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    say(&format!(
        "installing Rust's {WASM_TARGET} target into the toolchain, by rustup"
    ));
    run(Command::new("rustup").current_dir(root()).args(["target", "add", WASM_TARGET])).context(
        format!(
            "the Rust target {WASM_TARGET} is missing\n\
             hint: a Rust that isn't rustup's needs its package, for instance libstd-rust-dev-wasm32"
        ),
    )
}

/// Beside cargo's own output whatever `CARGO_TARGET_DIR` says, so that
/// `.cargo/config.toml` can name the scripts for a plain `cargo build`.
pub fn tools() -> PathBuf {
    root().join("target/tools")
}

fn wasm_c() -> Result<WasmC> {
    let tools = tools();
    let scripts = WasmC {
        cc: tools.join("wasm-cc"),
        ar: tools.join("wasm-ar"),
    };
    if let Some(cc) = std::env::var_os("CC_wasm32_wasip2") {
        // Plain cargo gets the same path from .cargo/config.toml, and passes it on.
        if Path::new(&cc) != scripts.cc {
            let ar = std::env::var_os("AR_wasm32_wasip2").unwrap_or_else(|| "ar".into());
            return Ok(WasmC {
                cc: cc.into(),
                ar: ar.into(),
            });
        }
    }
    let compiler = match find_clang() {
        Some(compiler) => compiler,
        None => install_zig(&tools)?,
    };
    fs::create_dir_all(&tools).with_context(|| tools.display().to_string())?;
    let changed = write_script(&scripts.cc, &compiler.cc_script())?
        | write_script(&scripts.ar, &compiler.ar_script())?;
    if changed {
        try_out(&scripts.cc)?;
        say(&format!(
            "C in components is compiled by {}",
            compiler.name()
        ));
    }
    Ok(scripts)
}

enum Compiler {
    Clang { clang: PathBuf, ar: PathBuf },
    Zig { zig: PathBuf, cache: PathBuf },
}

impl Compiler {
    fn name(&self) -> String {
        match self {
            Self::Clang { clang, .. } => clang.display().to_string(),
            Self::Zig { zig, .. } => format!("{} cc", zig.display()),
        }
    }

    fn cc_script(&self) -> String {
        let folder = root().join("tests/xtask/wasm-c");
        let include = quoted(folder.join("include").as_os_str());
        // `set` in a loop over the arguments adds to them; the loop goes over those that came.
        let told = format!(
            "case \"$argument\" in */tree-sitter*/src/lib.c) set -- \"$@\" -include {} ;; esac",
            quoted(folder.join("tree-sitter.h").as_os_str())
        );
        match self {
            Self::Clang { clang, .. } => format!(
                "#!/bin/sh\n\
                 # Written by `cargo xtask setup`.\n\
                 for argument do\n  \
                   {told}\n\
                 done\n\
                 exec {} -nostdlibinc -isystem {include} \"$@\" {OPTIMISED}\n",
                quoted(clang.as_os_str())
            ),
            // zig knows no such target and would bring a libc of its own; its
            // checks for undefined behaviour need a run-time library.
            Self::Zig { zig, cache } => format!(
                "#!/bin/sh\n\
                 # Written by `cargo xtask setup`.\n\
                 for argument do\n  \
                   shift\n  \
                   case \"$argument\" in --target=*) ;; *) set -- \"$@\" \"$argument\" ;; esac\n  \
                   {told}\n\
                 done\n\
                 export ZIG_GLOBAL_CACHE_DIR={cache} ZIG_LOCAL_CACHE_DIR={cache}\n\
                 exec {zig} cc -target wasm32-freestanding -fno-sanitize=all -nostdlibinc \
                 -isystem {include} \"$@\" {OPTIMISED}\n",
                zig = quoted(zig.as_os_str()),
                cache = quoted(cache.as_os_str()),
            ),
        }
    }

    fn ar_script(&self) -> String {
        let ar = match self {
            Self::Clang { ar, .. } => quoted(ar.as_os_str()),
            Self::Zig { zig, .. } => format!("{} ar", quoted(zig.as_os_str())),
        };
        format!("#!/bin/sh\n# Written by `cargo xtask setup`.\nexec {ar} \"$@\"\n")
    }
}

/// For `sh`.
fn quoted(text: &OsStr) -> String {
    format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"))
}

/// Whether it wasn't there before.
fn write_script(path: &Path, text: &str) -> Result<bool> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(false);
    }
    let show = || path.display().to_string();
    // Renamed into place: another process may be about to run it.
    let fresh = path.with_extension(std::process::id().to_string());
    fs::write(&fresh, text).with_context(show)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).with_context(show)?;
    }
    fs::rename(&fresh, path).with_context(show)?;
    Ok(true)
}

/// A compiler that is there may still not work: better said here than from
/// the middle of a build.
fn try_out(cc: &Path) -> Result<()> {
    let folder = tools().join(format!("try-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let source = folder.join("try.c");
    let object = folder.join("try.o");
    let text = "#include <stdint.h>\n#include <string.h>\n\
                uint32_t length(const char *text) { return (uint32_t)strlen(text); }\n";
    fs::write(&source, text).with_context(|| source.display().to_string())?;
    let mut command = Command::new(cc);
    command
        .arg(format!("--target={WASM_TARGET}"))
        .arg("-c")
        .arg(&source)
        .arg("-o")
        .arg(&object);
    let result = command.output().with_context(|| shown(&command));
    let made = fs::read(&object).is_ok_and(|bytes| bytes.starts_with(b"\0asm"));
    let _ = fs::remove_dir_all(&folder);
    let output = result?;
    if !output.status.success() || !made {
        let _ = fs::remove_file(cc);
        bail!(
            "the C compiler for components doesn't work: {}\n{}",
            cc.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn find_clang() -> Option<Compiler> {
    let sdk = std::env::var_os("WASI_SDK_PATH").map(|sdk| Path::new(&sdk).join("bin"));
    let mut names: Vec<(PathBuf, Vec<PathBuf>)> = Vec::new();
    if let Some(bin) = sdk {
        names.push((bin.join("clang"), vec![bin.join("llvm-ar")]));
    }
    names.push(("clang".into(), vec!["llvm-ar".into(), "ar".into()]));
    for version in CLANG_VERSIONS.rev() {
        let ar = vec![
            format!("llvm-ar-{version}").into(),
            "llvm-ar".into(),
            "ar".into(),
        ];
        names.push((format!("clang-{version}").into(), ar));
    }
    names.into_iter().find_map(|(clang, ars)| {
        let output = Command::new(&clang).arg("--print-targets").output().ok()?;
        if !String::from_utf8_lossy(&output.stdout).contains("wasm32") {
            return None;
        }
        let runs = |ar: &PathBuf| {
            Command::new(ar)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        Some(Compiler::Clang {
            clang,
            ar: ars.into_iter().find(runs)?,
        })
    })
}

fn install_zig(tools: &Path) -> Result<Compiler> {
    if cfg!(windows) {
        bail!("no clang with a WebAssembly back end on PATH\nhint: install LLVM and try again");
    }
    let folder = tools.join(format!("ziglang-{ZIG_VERSION}"));
    let zig = folder.join("ziglang/zig");
    let compiler = Compiler::Zig {
        zig: zig.clone(),
        cache: tools.join("zig-cache"),
    };
    if zig.is_file() {
        return Ok(compiler);
    }
    say(&format!(
        "no clang with a WebAssembly back end on PATH; installing ziglang {ZIG_VERSION} from PyPI \
         (400 MB unpacked) into {}",
        folder.display()
    ));
    say("(the alternative needs root: apt-get install --no-install-recommends clang)");
    let hint = "no C compiler for components: a plugin with C can't be built\n\
                hint: `apt-get install --no-install-recommends clang` as root, \
                or python3 with pip or venv, and a network";
    fs::create_dir_all(tools).with_context(|| tools.display().to_string())?;
    // Installed beside and renamed, so that what is there is whole.
    let fresh = tools.join(format!("ziglang-{}", std::process::id()));
    let result = pip_install(tools, &[&format!("ziglang=={ZIG_VERSION}")], &fresh);
    if result.is_ok() && !zig.is_file() {
        let _ = fs::remove_dir_all(&folder);
        // Fails if another process was first, whose copy is as good.
        let _ = fs::rename(&fresh, &folder);
    }
    let _ = fs::remove_dir_all(&fresh);
    result.context(hint)?;
    if !zig.is_file() {
        bail!("ziglang {ZIG_VERSION} has no {}\n{hint}", zig.display());
    }
    Ok(compiler)
}

/// Installs packages from PyPI into a folder of their own, without what they depend on.
///
/// # Errors
/// There is no Python with pip or venv, or no network.
pub fn pip_install(tools: &Path, packages: &[&str], into: &Path) -> Result<()> {
    let install = |python: &OsStr| {
        let mut command = Command::new(python);
        command
            // `--target` leaves the interpreter's own packages alone; a
            // `user = true` in pip's configuration would contradict it.
            .envs([("PIP_USER", "0"), ("PIP_ROOT_USER_ACTION", "ignore")])
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--no-deps", "--only-binary", ":all:", "--target"])
            .arg(into)
            .args(packages);
        run(&mut command)
    };
    let has_pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("python3")?
        .success();
    if has_pip {
        return install(OsStr::new("python3"));
    }
    // Some distributions split pip off but keep venv, which brings one.
    let venv = tools.join(format!("venv-{}", std::process::id()));
    let result = run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
        .and_then(|()| install(venv.join("bin/python").as_os_str()));
    let _ = fs::remove_dir_all(&venv);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches a script that breaks in a folder whose name has a space or a quote.
    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted(OsStr::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    // Catches zig's `unknown target` when `cc` passes Rust's name for it, arguments split at their
    // spaces, and a tree-sitter that isn't told.
    #[cfg(unix)]
    #[test]
    fn scripts_pass_arguments_on() {
        let folder = std::env::temp_dir().join(format!("rlhf-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let run = |compiler: &Compiler, file: &str| {
            let script = folder.join("cc");
            assert!(write_script(&script, &compiler.cc_script()).unwrap());
            assert!(!write_script(&script, &compiler.cc_script()).unwrap());
            let output = Command::new(&script)
                .args(["--target=wasm32-wasip2", "-O0", "-c", file])
                .output()
                .unwrap();
            fs::remove_file(&script).unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let zig = Compiler::Zig {
            zig: "echo".into(),
            cache: folder.clone(),
        };
        let clang = Compiler::Clang {
            clang: "echo".into(),
            ar: "ar".into(),
        };
        let header = root().join("tests/xtask/wasm-c/tree-sitter.h");
        let told = format!("-include {} ", header.display());
        let targets = ["-target wasm32-freestanding ", "--target=wasm32-wasip2 "];
        for (compiler, target) in [zig, clang].into_iter().zip(targets) {
            let found = run(&compiler, "a b.c");
            for other in targets {
                assert_eq!(found.contains(other), other == target, "{found}");
            }
            let end = format!(" -O0 -c a b.c {OPTIMISED}\n");
            assert!(found.ends_with(&end), "{found}");
            let found = run(&compiler, "x/tree-sitter-0.22.6/src/lib.c");
            let end = format!(" -O0 -c x/tree-sitter-0.22.6/src/lib.c {told}{OPTIMISED}\n");
            assert!(found.ends_with(&end), "{found}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
