//! Compiles the step, against tree-sitter's own headers: those of the version that is linked.

use std::path::PathBuf;

fn main() {
    let include = std::env::var_os("DEP_TREE_SITTER_INCLUDE");
    let include = PathBuf::from(include.expect("the crate tree-sitter says where its headers are"));
    println!("cargo:rerun-if-changed=lexer/step.c");
    cc::Build::new()
        .std("c11")
        .include(include.join("../src"))
        .include(include)
        .flag_if_supported("-Wno-unused-parameter")
        .file("lexer/step.c")
        .compile("rlhf-parser");
}
