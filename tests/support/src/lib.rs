//! What the test suites share: temporary workspaces, the `rlhf` command,
//! components built on demand, expected texts, and processes to be measured.
//!
//! ```no_run
//! use rlhf_test_support::{Rlhf, Workspace, component};
//!
//! let workspace = Workspace::new();
//! workspace.write("run.toml", "[ppo]\nclip_rang = 0.2\n");
//! Rlhf::in_target_dir(&workspace)
//!     .args(["--config", "run.toml", "--plugin"])
//!     .arg(component("metric-bleu"))
//!     .run()
//!     .expect_code(2)
//!     .expect_stderr("unknown key `ppo.clip_rang`")
//!     .expect_snapshot("tests/cli/snapshots/unknown-key.txt");
//! ```

pub mod bench;
mod command;
mod components;
mod documents;
mod filters;
mod snapshot;
mod workspace;

pub use command::{Rlhf, Run, Running};
pub use components::{component, guest};
pub use documents::commands;
pub use filters::Filters;
pub use snapshot::{BLESS, expect_file};
pub use workspace::Workspace;
