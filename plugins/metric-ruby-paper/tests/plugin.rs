//! Does the metric answer as the host expects, whatever it is given?

use metric_ruby_paper::RubyPaper;
use metric_ruby_paper::graph::{Dependence, Graph};
use metric_ruby_paper::graph_distance::graph_distance;
use metric_ruby_paper::languages::LANGUAGES;
use metric_ruby_paper::options::{Level, Options};
use rlhf_sdk::{Error, Metric, Sample, Score};

fn metric(level: Level) -> RubyPaper {
    let options = Options {
        level,
        ..Options::default()
    };
    RubyPaper::new(options).expect("options")
}

fn score(level: Level, language: &str, response: &str, reference: &str) -> Result<Score, Error> {
    let mut sample = Sample::new(response, [reference]);
    language.clone_into(&mut sample.language);
    metric(level).score(&sample)
}

/// The similarity that was taken.
fn taken(score: &Score) -> &str {
    let parts = &score.components[..3];
    let part = parts.iter().find(|part| part.value == 1.0);
    &part.expect("one of three").name
}

/// Would catch a similarity that is taken though a better one is there, or though it isn't.
#[test]
fn the_first_that_can_be_computed_is_taken() {
    let check = |language: &str, response: &str, expected: &str| {
        let found = score(Level::Auto, language, response, "x = 1;").expect("a score");
        assert_eq!(taken(&found), expected, "{language} {response}");
        // What was asked for alone is the same, or not there.
        for (level, name) in [(Level::Graph, "graph"), (Level::Tree, "tree")] {
            match score(level, language, response, "x = 1;") {
                Ok(alone) if name == expected => assert_eq!(alone, found),
                Ok(_) => assert!(name == "tree" && expected == "graph"),
                Err(error) => {
                    assert_eq!(error.code, "not-computable");
                    assert_ne!(name, expected);
                }
            }
        }
    };
    check("python", "y = 2", "graph");
    check("", "y = 2", "graph");
    check("python", "y = (", "string");
    check("java", "y = 2;", "graph");
    check("javascript", "y = 2;", "graph");
    check("c", "int f() { return 2; }", "graph");
    check("c", "int f() { a: goto a; }", "tree");
    check("rust", "fn f( {}", "string");
    check("cpp", "int f() { return 2; }", "tree");
    check("cobol", "MOVE 2 TO Y", "string");
    // Statements too deep for a graph.
    let deep: String = (0..150)
        .map(|i| format!("{}if a:\n", " ".repeat(i)))
        .collect();
    check("python", &format!("{deep}{}b", " ".repeat(150)), "tree");
}

/// Would catch points for nothing, or none for all.
#[test]
fn empty_texts_are_like_each_other_alone() {
    for level in [Level::Auto, Level::Graph, Level::Tree, Level::String] {
        let value = |response, reference| {
            let score = score(level, "python", response, reference).expect("a score");
            score.value
        };
        assert_eq!(value("", ""), 1.0);
        assert_eq!(value("", "x = 1"), 0.0);
        assert_eq!(value("x = 1", " \n"), 0.0);
        assert_eq!(value("x = 1", "x = 1"), 1.0);
        // The inside of a function is like itself, wherever it stands.
        assert_eq!(value("    x = 1\n    return x", "x = 1\nreturn x\n"), 1.0);
    }
}

/// Would catch a graph in which names count, or operands don't.
#[test]
fn graphs_see_through_names() {
    let value = |response: &str, reference: &str| {
        let score = score(Level::Graph, "python", response, reference).expect("a score");
        score.value
    };
    let first = "b = g()\na = f(b)\nc = a - b";
    assert_eq!(value(first, "y = g()\nx = f(y)\nz = x - y"), 1.0);
    assert!(value(first, "y = g()\nx = f(y)\nz = y - x") < 1.0);
    // Statements that don't depend on each other may change places, others not.
    assert_eq!(
        value("a = 1\nb = 2\nc = a + b", "b = 2\na = 1\nc = a + b"),
        1.0
    );
    assert!(value("a = 1\na = 2\nc = a", "a = 2\na = 1\nc = a") < 1.0);
    // Names of others stay.
    assert!(value("a = f(1)", "a = g(1)") < 1.0);
}

/// Would catch the most similar reference not being taken.
#[test]
fn the_most_similar_reference_counts() {
    let score = metric(Level::Auto).score(&Sample::new("x = 1", ["(", "x = 1", "y"]));
    assert_eq!(score.expect("a score").value, 1.0);
    let error = metric(Level::Auto).score(&Sample::new("x", [""; 0]));
    assert_eq!(error.expect_err("refused").code, "no-references");
}

/// Would catch an option that is ignored in silence.
#[test]
fn unknown_options_are_refused() {
    let new = |text: &str| {
        rlhf_sdk::options::parse(text).and_then(|options| RubyPaper::new(options).map(|_| ()))
    };
    assert!(new(r#"{"level": "tree", "lang": "js"}"#).is_ok());
    assert!(new(r#"{"level": "forest"}"#).is_err());
    assert!(new(r#"{"language": "cobol"}"#).is_err());
}

/// Would catch a search without end, and a "best" edit that is worse than starting anew.
#[test]
fn large_graphs_have_an_upper_bound() {
    let mut state = 1u64;
    let mut next = |end: u32| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u32 % end
    };
    let mut graph = |count: u32| {
        let mut edges: Vec<(u32, u32, Dependence)> = (0..2 * count)
            .map(|_| (next(count), next(count), Dependence::Control(next(3))))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        Graph {
            vertices: (0..count).map(|_| next(5).to_string()).collect(),
            edges,
        }
    };
    for (one, other) in [(30, 30), (60, 20), (150, 150), (1_000, 990)] {
        let (a, b) = (graph(one), graph(other));
        let distance = graph_distance(&a, &b);
        assert!(!distance.exact, "{one} {other}");
        assert!(distance.edits as usize <= a.size() + b.size());
        assert_eq!(graph_distance(&a, &b), distance);
        assert!(graph_distance(&a, &a).exact);
    }
}

/// Would catch names of a statement that are taken for one another, or mistaken for new ones,
/// where there are thousands: then these graphs would differ.
#[test]
fn long_statements_see_through_names() {
    let program = |name: &str, swapped: bool| {
        let names: Vec<String> = (0..5_000).map(|at| format!("{name}{at}")).collect();
        let mut read = names.clone();
        if swapped {
            read.swap(4_000, 4_001);
        }
        let (head, body) = (names.join(", "), read.join(", "));
        format!("def f({head}):\n    return [{body}, {body}]\n")
    };
    let one = program("a", false);
    let value = |other: &str| {
        score(Level::Graph, "python", &one, other)
            .expect("a graph")
            .value
    };
    assert_eq!(value(&program("b", false)), 1.0);
    assert!(value(&program("b", true)) < 1.0);
}

/// Would catch a panic or a number out of range.
#[test]
fn odd_texts_have_scores() {
    let texts = [
        "\0".to_owned(),
        "😀 = '😀'\r\nif 😀:\r\n\tpass\r\n".to_owned(),
        "é = 1; ü = é + 1".to_owned(),
        "\u{feff}x = 1".to_owned(),
        format!("x = {}1", "a + ".repeat(3_000)),
        format!("x = {}1{}", "(".repeat(2_000), ")".repeat(2_000)),
        "x = y\n".repeat(1_200),
        "if a: b\nelif a: c\n".to_owned() + &"elif a: c\n".repeat(500),
        "f(x);\n".repeat(3_000),
        "break; continue; return; yield; case 1: default:".to_owned(),
        "l: for (;;) { m: while (1) { continue l; break m; } }".to_owned(),
        "switch (a) { case 1: case 2: break; default: }".to_owned(),
        "try { throw a; } catch (e) { } finally { }".to_owned(),
        "const f = a => b => ({c, d: [e, ...g] = h}) => { i(this.j) };".to_owned(),
        "match a:\n  case b | [c, *d] if e: pass\n  case _: pass\n".to_owned(),
    ];
    for language in LANGUAGES {
        for text in &texts {
            for (response, reference) in [(text.as_str(), "x = 1;"), (text, text)] {
                let found = score(Level::Auto, language.name, response, reference);
                let found = found.expect("a score");
                assert!((0.0..=1.0).contains(&found.value), "{}", language.name);
                assert!(response != reference || found.value == 1.0, "{text}");
            }
        }
    }
}
