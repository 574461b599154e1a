//! `rlhf --version`: what this binary was built with. `-V` prints the number alone.

/// From the build script, which reads them off cargo's variables and the lock file.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit      ",
    env!("RLHF_BUILD_COMMIT"),
    "\ntarget      ",
    env!("RLHF_BUILD_TARGET"),
    "\nprofile     ",
    env!("RLHF_BUILD_PROFILE"),
    "\nfeatures    ",
    env!("RLHF_BUILD_FEATURES"),
    "\nwasmtime    ",
    env!("RLHF_BUILD_WASMTIME"),
    "\ncandle      ",
    env!("RLHF_BUILD_CANDLE"),
    "\nfirst-party ",
    env!("RLHF_BUILD_FIRST_PARTY"),
    " components with grants of their own",
);
