//! Generated bindings, one module per world.
//!
//! Nothing in here is part of the SDK's interface: the public types are our
//! own, and the traits' modules convert. It is public only because export
//! macros expand inside plugins, where they must be able to name it.
#![allow(missing_docs)]

/// What a plugin may import. The worlds below share it, so that a type which
/// two of them use is one Rust type.
pub mod host {
    wit_bindgen::generate!({
        path: "wit/0.1.0",
        inline: "
            package rlhf:sdk;
            world host {
                import rlhf:plugin/types@0.1.0;
                import rlhf:plugin/log@0.1.0;
                import rlhf:plugin/encoder@0.1.0;
                import rlhf:plugin/sandbox@0.1.0;
                import rlhf:plugin/source@0.1.0;
                import rlhf:plugin/folder@0.1.0;
                import rlhf:plugin/values@0.1.0;
                import rlhf:plugin/candidate@0.1.0;
            }
        ",
        world: "rlhf:sdk/host",
        generate_all,
    });
}

pub mod metric {
    wit_bindgen::generate!({
        path: "wit/0.1.0",
        world: "rlhf:plugin/metric-plugin@0.1.0",
        pub_export_macro: true,
        default_bindings_module: "rlhf_sdk::__private::bindings::metric",
        with: {
            "rlhf:plugin/types@0.1.0": super::host::rlhf::plugin::types,
            "rlhf:plugin/log@0.1.0": super::host::rlhf::plugin::log,
            "rlhf:plugin/encoder@0.1.0": super::host::rlhf::plugin::encoder,
            "rlhf:plugin/sandbox@0.1.0": super::host::rlhf::plugin::sandbox,
        },
    });
}

pub mod reward_shaper {
    wit_bindgen::generate!({
        path: "wit/0.1.0",
        world: "rlhf:plugin/reward-shaper-plugin@0.1.0",
        pub_export_macro: true,
        default_bindings_module: "rlhf_sdk::__private::bindings::reward_shaper",
        with: {
            "rlhf:plugin/types@0.1.0": super::host::rlhf::plugin::types,
            "rlhf:plugin/log@0.1.0": super::host::rlhf::plugin::log,
            "rlhf:plugin/encoder@0.1.0": super::host::rlhf::plugin::encoder,
            "rlhf:plugin/sandbox@0.1.0": super::host::rlhf::plugin::sandbox,
        },
    });
}

pub mod data_adapter {
    wit_bindgen::generate!({
        path: "wit/0.1.0",
        world: "rlhf:plugin/data-adapter-plugin@0.1.0",
        pub_export_macro: true,
        default_bindings_module: "rlhf_sdk::__private::bindings::data_adapter",
        with: {
            "rlhf:plugin/types@0.1.0": super::host::rlhf::plugin::types,
            "rlhf:plugin/log@0.1.0": super::host::rlhf::plugin::log,
            "rlhf:plugin/source@0.1.0": super::host::rlhf::plugin::source,
            "rlhf:plugin/folder@0.1.0": super::host::rlhf::plugin::folder,
        },
    });
}

pub mod code_runner {
    wit_bindgen::generate!({
        path: "wit/0.1.0",
        world: "rlhf:plugin/code-runner-plugin@0.1.0",
        pub_export_macro: true,
        default_bindings_module: "rlhf_sdk::__private::bindings::code_runner",
        with: {
            "rlhf:plugin/types@0.1.0": super::host::rlhf::plugin::types,
            "rlhf:plugin/log@0.1.0": super::host::rlhf::plugin::log,
            "rlhf:plugin/values@0.1.0": super::host::rlhf::plugin::values,
            "rlhf:plugin/candidate@0.1.0": super::host::rlhf::plugin::candidate,
        },
    });
}
