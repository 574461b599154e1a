//! Compiles the grammar's C, as the crate tree-sitter-javascript does.

fn main() {
    let mut build = cc::Build::new();
    build.std("c11").include("grammar").warnings(false);
    for file in ["grammar/parser.c", "grammar/scanner.c"] {
        build.file(file);
        println!("cargo:rerun-if-changed={file}");
    }
    build.compile("tree-sitter-javascript");
}
