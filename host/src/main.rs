//! The `rlhf` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rlhf::cli::main()
}
