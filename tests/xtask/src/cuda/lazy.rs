//! Archives in place of NVIDIA's libraries: what is linked to them needs none to start.
//!
//! candle links the libraries (its feature of cudarc says so), and a program linked so is not even
//! loaded where they are absent. An archive of the same name has a jump for each function, which
//! opens the real library when it is first called; see `lazy.c`. The functions' names are those of
//! cudarc's bindings.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{metadata, run};

const SOURCE: &str = include_str!("lazy.c");

struct Library {
    /// As the linker names it.
    name: &'static str,
    /// cudarc's module that declares its functions.
    module: &'static str,
    /// The file that is opened.
    file: &'static str,
    /// What its functions return where it is absent.
    missing: u32,
}

const LIBRARIES: [Library; 5] = [
    // CUDA_ERROR_NO_DEVICE
    Library {
        name: "cuda",
        module: "driver",
        file: "libcuda.so.1",
        missing: 100,
    },
    // CUBLAS_STATUS_NOT_INITIALIZED
    Library {
        name: "cublas",
        module: "cublas",
        file: "libcublas.so.13",
        missing: 1,
    },
    Library {
        name: "cublasLt",
        module: "cublaslt",
        file: "libcublasLt.so.13",
        missing: 1,
    },
    // CURAND_STATUS_INITIALIZATION_FAILED
    Library {
        name: "curand",
        module: "curand",
        file: "libcurand.so.10",
        missing: 203,
    },
    // NVRTC_ERROR_INTERNAL_ERROR
    Library {
        name: "nvrtc",
        module: "nvrtc",
        file: "libnvrtc.so.13",
        missing: 11,
    },
];

/// Writes the archives into `into`; libraries are looked for where the system does, then in
/// `libraries`.
///
/// # Errors
/// cudarc's sources are not what they were, or there is no C compiler.
pub fn write(into: &Path, libraries: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| into.display().to_string())?;
    let bindings = cudarc()?;
    for library in &LIBRARIES {
        let file = bindings.join(format!("src/{}/sys/mod.rs", library.module));
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let names = functions(&text);
        if names.is_empty() {
            bail!("{}: no functions were found", file.display());
        }
        let source = into.join(format!("{}.c", library.name));
        fs::write(&source, library.source(&names, libraries))
            .with_context(|| source.display().to_string())?;
        let object = source.with_extension("o");
        let mut cc = Command::new("cc");
        run(cc
            .args(["-c", "-O2", "-fPIC", "-o"])
            .args([&object, &source]))?;
        let archive = into.join(format!("lib{}.a", library.name));
        if archive.exists() {
            fs::remove_file(&archive).with_context(|| archive.display().to_string())?;
        }
        run(Command::new("ar").arg("crs").args([&archive, &object]))?;
    }
    Ok(())
}

impl Library {
    fn source(&self, names: &[String], libraries: &Path) -> String {
        let quoted =
            |names: &[String]| names.iter().map(|n| format!("{n:?}, ")).collect::<String>();
        let files = [
            self.file.to_owned(),
            libraries.join(self.file).display().to_string(),
        ];
        let mut text = format!(
            "#define LIBRARY {}\n#define MISSING {}\n#define FILES {}\n#define NAMES {}\n{SOURCE}",
            self.name,
            self.missing,
            quoted(&files),
            quoted(names)
        );
        text.push_str("__asm__(\n");
        for (index, name) in names.iter().enumerate() {
            writeln!(text, "    \"lazy {name}, {index}\\n\"").expect("text grows");
        }
        text.push_str(");\n");
        text
    }
}

/// Names of the functions that a module of cudarc's declares.
fn functions(text: &str) -> Vec<String> {
    let declared = text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("fn ")?;
        let name = rest.split('(').next()?;
        let known = ["cu", "nvrtc"].iter().any(|start| name.starts_with(start));
        (known && line.starts_with("            ")).then(|| name.to_owned())
    });
    let mut names: Vec<String> = declared.collect();
    names.sort();
    names.dedup();
    names
}

/// The folder of cudarc's sources.
fn cudarc() -> Result<PathBuf> {
    let metadata = metadata(&["--features", "rlhf/cuda"])?;
    let packages = metadata["packages"].as_array();
    let found = packages.and_then(|all| all.iter().find(|p| p["name"] == "cudarc"));
    let manifest = found.and_then(|p| p["manifest_path"].as_str());
    let manifest = manifest.context("cargo metadata: the workspace has no cudarc")?;
    let folder = Path::new(manifest).parent();
    Ok(folder.context("a manifest lies in a folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Catches functions that are overlooked, and helpers that are taken for some.
    #[test]
    fn declared_functions_are_found() {
        let text = "pub unsafe fn cuInit(Flags: u32) -> CUresult {\n        extern \"C\" {\n            \
                    fn cuInit(Flags: u32) -> CUresult;\n        }\n    fn culib() {}\n";
        assert_eq!(functions(text), ["cuInit"]);
    }

    // Catches arguments that are lost on the way, a library that is needed to start, and a missing
    // function that ends the program.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn a_library_is_opened_by_its_first_call() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        let real = "double cuSum(int a, double b, int c, int d, int e, int f, int g, int h, double i) {\n\
                    return a + 2 * b + 3 * c + d + e + f + g + 10 * h + 100 * i; }\n";
        fs::write(at("real.c"), real).expect("written");
        let program = "double cuSum(int, double, int, int, int, int, int, int, double);\n\
                       int cuGone(void);\n\
                       int main(void) { for (int i = 0; i < 2; i++) {\n\
                       if (cuSum(1, 2.5, 3, 4, 5, 6, 7, 8, 9.5) != 1067) return 1;\n\
                       if (cuGone() != 77) return 2; } return 0; }\n";
        fs::write(at("program.c"), program).expect("written");
        let library = Library {
            name: "try",
            module: "",
            file: "libtry.so.1",
            missing: 77,
        };
        let names = ["cuGone", "cuSum"].map(str::to_owned);
        fs::write(at("lazy.c"), library.source(&names, folder.path())).expect("written");
        let cc = |arguments: &[&str]| {
            let status = Command::new("cc")
                .current_dir(folder.path())
                .args(arguments)
                .status();
            assert!(status.expect("cc").success(), "{arguments:?}");
        };
        cc(&["-shared", "-fPIC", "-o", "libtry.so.1", "real.c"]);
        cc(&["-O1", "-o", "program", "program.c", "lazy.c", "-ldl"]);
        let run = || Command::new(at("program")).status().expect("runs").code();
        assert_eq!(run(), Some(0));
        fs::remove_file(at("libtry.so.1")).expect("removed");
        assert_eq!(run(), Some(1));
    }
}
