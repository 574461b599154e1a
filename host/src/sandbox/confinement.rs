//! What a worker gives up before any untrusted byte reaches it.
//!
//! The WebAssembly engine is the first wall. This is the second: were the engine broken, whoever
//! broke it would be in a process that can open no file, reach no network, start no program and
//! gain no right. Each measure is taken where the system has it, and its absence is told.

/// What the system let the worker drop and what not, a line each.
pub fn confine() -> Vec<String> {
    #[cfg(target_os = "linux")]
    return linux::confine();
    #[cfg(not(target_os = "linux"))]
    return vec![format!(
        "{}: no confinement beside WebAssembly's own",
        std::env::consts::OS
    )];
}

#[cfg(target_os = "linux")]
mod linux {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
        RulesetStatus, Scope,
    };
    use rustix::process::{DumpableBehavior, Resource, Rlimit};

    /// Files that are open already, the pipes, and some of the engine's. Chosen.
    const OPEN_FILES_MAX: u64 = 64;

    pub fn confine() -> Vec<String> {
        let mut report = Vec::new();
        let mut note = |what: &str, result: Result<String, String>| match result {
            Ok(how) => report.push(format!("{what}: {how}")),
            Err(error) => report.push(format!("{what}: not available ({error})")),
        };
        note(
            "new privileges",
            rustix::thread::set_no_new_privs(true)
                .map(|()| "none".into())
                .map_err(|error| error.to_string()),
        );
        note("resource limits", limits());
        note("files and network (Landlock)", landlock());
        note("system calls (seccomp)", super::calls::filter());
        report
    }

    /// No core dump of what the worker holds, no file it could fill, no handle beyond its own.
    fn limits() -> Result<String, String> {
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        for (resource, most) in [
            (Resource::Core, 0),
            (Resource::Fsize, 0),
            (Resource::Nofile, OPEN_FILES_MAX),
        ] {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            rustix::process::setrlimit(resource, limit).map_err(|error| error.to_string())?;
        }
        Ok("no core dump, no file written".into())
    }

    /// Everything that Landlock knows is forbidden: there is no rule that allows anything.
    fn landlock() -> Result<String, String> {
        // The newest we know; older kernels forbid what they know of it.
        let abi = ABI::V6;
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))
            .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
            .and_then(|rules| rules.scope(Scope::from_all(abi)))
            .and_then(Ruleset::create)
            .and_then(landlock::RulesetCreated::restrict_self)
            .map_err(|error| error.to_string())?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok("all forbidden".into()),
            RulesetStatus::PartiallyEnforced => {
                Ok("forbidden as far as this kernel's Landlock goes".into())
            }
            RulesetStatus::NotEnforced => Err("this kernel has no Landlock".into()),
        }
    }
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod calls {
    use std::collections::BTreeMap;

    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    /// What computing, talking over open pipes, and threads take. All else, `open`, `socket`,
    /// `execve` and `ptrace` among it, fails as if the kernel didn't have it.
    const ALLOWED: &[i64] = &[
        libc::SYS_brk,
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_eventfd2,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_membarrier,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_nanosleep,
        libc::SYS_ppoll,
        libc::SYS_prctl,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        libc::SYS_write,
        libc::SYS_writev,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
    ];

    /// `PAGEMAP_SCAN`, with which the engine finds the pages that a program has written.
    const PAGEMAP_SCAN: u64 = 0xc060_6610;

    /// Installs the filter for all threads.
    pub fn filter() -> Result<String, String> {
        let when = |argument: u8, operator: SeccompCmpOp, value: u64| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
                .and_then(|condition| SeccompRule::new(vec![condition]))
        };
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        // Threads, but no process. (glibc tries clone3 first, whose flags can't be seen here.)
        let thread = libc::CLONE_THREAD as u64;
        let rule = when(0, SeccompCmpOp::MaskedEq(thread), thread);
        rules.insert(libc::SYS_clone, vec![rule.map_err(text)?]);
        let rule = when(1, SeccompCmpOp::Eq, PAGEMAP_SCAN);
        rules.insert(libc::SYS_ioctl, vec![rule.map_err(text)?]);
        // An abort signals its own process, and nobody else's.
        let own = u64::from(std::process::id());
        let rule = when(0, SeccompCmpOp::Eq, own);
        rules.insert(libc::SYS_tgkill, vec![rule.map_err(text)?]);
        let arch = std::env::consts::ARCH.try_into().map_err(text)?;
        let denied = SeccompAction::Errno(libc::ENOSYS as u32);
        let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, arch).map_err(text)?;
        let program: seccompiler::BpfProgram = filter.try_into().map_err(text)?;
        seccompiler::apply_filter_all_threads(&program).map_err(text)?;
        Ok(format!("all but {} forbidden", ALLOWED.len() + 3))
    }

    fn text(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
}

#[cfg(all(
    target_os = "linux",
    not(any(target_arch = "x86_64", target_arch = "aarch64"))
))]
mod calls {
    pub fn filter() -> Result<String, String> {
        Err(format!("no filter for {}", std::env::consts::ARCH))
    }
}
