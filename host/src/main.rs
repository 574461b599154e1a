//! The `rlhf` command.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: rlhf::allocator::Allocator = rlhf::allocator::Allocator::new();

fn main() -> ExitCode {
    rlhf::cli::main()
}
