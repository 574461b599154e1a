//! One small contract, changed in one way at a time.

use super::differences;
use crate::wit::contract::{Contract, Files};

const OLD: &str = "\
package rlhf:plugin@0.1.0;

interface types {
    record error { code: string, message: string }
    record sample { id: string, response: string }
}

interface metric {
    use types.{error, sample};
    record descriptor { name: string, minimum: f64, maximum: f64 }
    enum level { sample, corpus }
    flags needs { prompt, tests }
    variant reward { value(f64), abstain(string) }
    type statistics = list<f64>;
    describe: func() -> descriptor;
    configure: func(options: string, level: level) -> result<_, error>;
    measure: func(samples: list<sample>) -> list<result<statistics, error>>;
    close: func();
}

interface encoder {
    resource embeddings {
        tokens: func() -> u32;
        empty: static func() -> embeddings;
    }
    matches: func(a: borrow<embeddings>, b: borrow<embeddings>) -> f64;
}

interface log {
    write: func(message: string);
}

world metric-plugin {
    import log;
    import encoder;
    export metric;
}
";

fn contract(text: &str) -> Contract {
    let files = Files::new([("all.wit".to_owned(), text.to_owned())]);
    Contract::parse(&files).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Replaces `from` by `to` in the contract; the later version differs by
/// exactly these lines.
fn check(from: &str, to: &str, expected: &[&str]) {
    assert_eq!(OLD.matches(from).count(), 1, "`{from}` is no place");
    let new = OLD.replace("@0.1.0", "@0.1.1");
    // A changed package line carries its version.
    let new = if from.starts_with("package") {
        OLD.replace(from, to)
    } else {
        new.replace(from, to)
    };
    let found = differences(&contract(OLD), &contract(&new));
    assert_eq!(found, expected, "`{from}` → `{to}`");
}

// Catches a check that trips over the version in names.
#[test]
fn only_the_version_differs() {
    check(
        "package rlhf:plugin@0.1.0;",
        "package rlhf:plugin@0.1.1;",
        &[],
    );
}

// Catches a rule under which the contract could never grow.
#[test]
fn additions_are_accepted() {
    check(
        "interface log {",
        "interface clock { now: func() -> u64; }\ninterface log {",
        &[],
    );
    check(
        "    close: func();",
        "    close: func();\n    reset: func(level: level);",
        &[],
    );
    check(
        "    enum level",
        "    record span { start: u32 }\n    enum level",
        &[],
    );
    check(
        "        tokens: func",
        "        width: func() -> u32;\n        tokens: func",
        &[],
    );
    check(
        "    import log;",
        "    import clock: interface { now: func() -> u64; }\n    import log;",
        &[],
    );
    check(
        "world metric-plugin {",
        "world other { import log; }\nworld metric-plugin {",
        &[],
    );
    // `use` of one more type, and another order of what has no order.
    check(
        "interface log {",
        "interface log {\n    use types.{error};",
        &[],
    );
    check(
        "    import log;\n    import encoder;",
        "    import encoder;\n    import log;",
        &[],
    );
    // The same structure under another name.
    check(
        "-> list<result<statistics, error>>",
        "-> list<result<list<f64>, error>>",
        &[],
    );
}

// Catches a name that vanishes: whoever calls it can't be linked.
#[test]
fn what_is_removed_is_missed() {
    check(
        "    close: func();\n",
        "",
        &["interface metric: function `close` is missing"],
    );
    check(
        "    flags needs { prompt, tests }\n",
        "",
        &["interface metric: flags `needs` is missing"],
    );
    check(
        "        tokens: func() -> u32;\n",
        "",
        &["interface encoder, resource embeddings: method `tokens` is missing"],
    );
    check(
        "empty: static func() -> embeddings",
        "empty: func() -> u32",
        &["interface encoder, resource embeddings: static function `empty` is missing"],
    );
    check(
        "interface log {\n    write: func(message: string);\n}\n\nworld metric-plugin {\n    import log;\n",
        "world metric-plugin {\n",
        &[
            "interface log: is missing",
            "world metric-plugin: import `log` is missing",
        ],
    );
    check(
        "world metric-plugin {",
        "world metrics {",
        &["world metric-plugin: is missing"],
    );
}

// Catches functions that old plugins would call or answer in the wrong way.
#[test]
fn functions_keep_their_types() {
    check(
        "samples: list<sample>",
        "samples: list<string>",
        &[
            "interface metric, function measure: parameter `samples` is `list<string>`, was `list<types.sample>`",
        ],
    );
    check(
        "list<result<statistics, error>>",
        "list<result<statistics>>",
        &[
            "interface metric, function measure: result is `list<result<metric.statistics>>`, \
           was `list<result<metric.statistics, types.error>>`",
        ],
    );
    check(
        "close: func();",
        "close: func() -> bool;",
        &["interface metric, function close: result is `bool`, was none"],
    );
    check(
        "options: string, level: level",
        "level: level, options: string",
        &[
            "interface metric, function configure: parameters are in the order level, options; were options, level",
        ],
    );
    check(
        "options: string, level: level",
        "options: string",
        &["interface metric, function configure: parameter `level` is missing"],
    );
    check(
        "options: string, level: level",
        "options: string, level: level, strict: bool",
        &["interface metric, function configure: parameter `strict` was added"],
    );
    check(
        "write: func(message",
        "write: func(text",
        &[
            "interface log, function write: parameter `message` is missing",
            "interface log, function write: parameter `text` was added",
        ],
    );
    check(
        "b: borrow<embeddings>",
        "b: embeddings",
        &[
            "interface encoder, function matches: parameter `b` is `own<encoder.embeddings>`, \
           was `borrow<encoder.embeddings>`",
        ],
    );
    check(
        "close: func();",
        "close: async func();",
        &["interface metric, function close: is asynchronous, was synchronous"],
    );
}

// Catches types that can't grow, growing: their layout is in every component.
#[test]
fn definitions_keep_their_parts() {
    check(
        "minimum: f64, maximum: f64",
        "maximum: f64, minimum: f64",
        &[
            "interface metric, record descriptor: fields are in the order name, maximum, minimum; \
           were name, minimum, maximum",
        ],
    );
    check(
        "maximum: f64 }",
        "maximum: f64, %unit: string }",
        &["interface metric, record descriptor: field `unit` was added"],
    );
    check(
        "name: string, minimum: f64, ",
        "name: string, ",
        &["interface metric, record descriptor: field `minimum` is missing"],
    );
    check(
        "minimum: f64, ",
        "minimum: f32, ",
        &["interface metric, record descriptor: field `minimum` is `f32`, was `f64`"],
    );
    check(
        "abstain(string) }",
        "abstain(string), retry }",
        &["interface metric, variant reward: case `retry` was added"],
    );
    check(
        "abstain(string)",
        "abstain",
        &["interface metric, variant reward: case `abstain` is none, was `string`"],
    );
    check(
        "enum level { sample, corpus }",
        "enum level { sample }",
        &["interface metric, enum level: case `corpus` is missing"],
    );
    check(
        "flags needs { prompt, tests }",
        "flags needs { tests, prompt }",
        &[
            "interface metric, flags needs: flags are in the order tests, prompt; were prompt, tests",
        ],
    );
    check(
        "enum level { sample, corpus }",
        "variant level { sample, corpus }",
        &["interface metric, enum level: is a variant, was an enum"],
    );
    check(
        "type statistics = list<f64>",
        "type statistics = list<f32>",
        &["interface metric, type statistics: is `list<f32>`, was `list<f64>`"],
    );
    // Once, where it is defined, though `metric` uses it everywhere.
    check(
        "record error { code: string,",
        "record error { code: u32,",
        &["interface types, record error: field `code` is `u32`, was `string`"],
    );
}

// Catches a move to another home: fine for what has the same structure, unless
// it is a resource, which is nothing but its name.
#[test]
fn types_are_their_structure_and_resources_their_name() {
    check(
        "    use types.{error, sample};\n",
        "    use types.{error};\n    record sample { id: string, response: string }\n",
        &[],
    );
    check(
        "    use types.{error, sample};\n",
        "    use types.{error};\n    record sample { id: string, response: list<u8> }\n",
        &[
            "interface metric, record sample: field `response` is `list<u8>`, was `string`",
            "interface metric, function measure: parameter `samples` is `list<metric.sample>`, \
             was `list<types.sample>`",
        ],
    );
    let resource = "    resource embeddings {\n        tokens: func() -> u32;\n        \
                    empty: static func() -> embeddings;\n    }\n";
    check(
        &format!("interface encoder {{\n{resource}"),
        &format!(
            "interface vectors {{\n{resource}}}\ninterface encoder {{\n    use vectors.{{embeddings}};\n"
        ),
        &[
            "interface encoder: resource `embeddings` is `vectors.embeddings`, was `encoder.embeddings`",
            "interface encoder, resource embeddings: method `tokens` is missing",
            "interface encoder, resource embeddings: static function `empty` is missing",
            "interface encoder, function matches: parameter `a` is `borrow<vectors.embeddings>`, \
             was `borrow<encoder.embeddings>`",
            "interface encoder, function matches: parameter `b` is `borrow<vectors.embeddings>`, \
             was `borrow<encoder.embeddings>`",
        ],
    );
}

// Catches worlds that ask old plugins for what they never had, and worlds that
// no longer give them what they import.
#[test]
fn worlds_gain_imports_only() {
    check(
        "    import encoder;\n",
        "",
        &["world metric-plugin: import `encoder` is missing"],
    );
    check(
        "    export metric;",
        "    export metric;\n    export log;",
        &[
            "world metric-plugin: export `log` was added: plugins of the older version don't have it",
        ],
    );
    check(
        "    export metric;\n",
        "    import types;\n",
        &["world metric-plugin: export `metric` is missing"],
    );
}

// Catches a copy under another name that passes for the contract.
#[test]
fn the_package_keeps_its_name() {
    check(
        "package rlhf:plugin@0.1.0;",
        "package rlhf:plugins@0.1.1;",
        &["package: is `rlhf:plugins`, was `rlhf:plugin`"],
    );
}
