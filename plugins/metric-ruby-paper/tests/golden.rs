//! Does every part give the numbers of its reference? Cases: `golden/` (see its README).

use std::path::Path;

use metric_ruby_paper::RubyPaper;
use metric_ruby_paper::control::{Effects, Flow};
use metric_ruby_paper::graph::{Dependence, Graph};
use metric_ruby_paper::graph_distance::{Distance, graph_distance};
use metric_ruby_paper::languages::Language;
use metric_ruby_paper::ruby::Comparer;
use metric_ruby_paper::tree_distance::{Ordered, tree_distance};
use serde_json::Value;

fn golden(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows(file: &str) -> Vec<Value> {
    let rows: Vec<Value> = golden(file)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert!(rows.len() >= 50, "{file}: cases are missing");
    rows
}

fn number(value: &Value) -> u32 {
    let number = value.as_u64().expect("a number");
    u32::try_from(number).expect("a small one")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// Would catch any similarity that isn't its reference's: of tokens, of trees, of graphs.
#[test]
fn cases_score_as_in_python() {
    rlhf_sdk::testing::check_metric::<RubyPaper>("golden/cases.jsonl");
}

/// Labels and parents of a tree in preorder.
fn preorder(tree: &Value, parent: u32, labels: &mut Vec<u32>, parents: &mut Vec<u32>) {
    let place = labels.len() as u32;
    labels.push(
        tree[0]
            .as_str()
            .expect("a label")
            .parse()
            .expect("a number"),
    );
    parents.push(parent);
    for child in list(&tree[1]) {
        preorder(child, place, labels, parents);
    }
}

/// Would catch a distance that is not the smallest, on either side of the tree.
#[test]
fn trees_are_as_far_apart_as_in_zss_and_apted() {
    for row in rows("trees.jsonl") {
        let sides = |tree| {
            let (mut labels, mut parents) = (Vec::new(), Vec::new());
            preorder(tree, 0, &mut labels, &mut parents);
            [
                Ordered::new(&labels, &parents),
                Ordered::mirrored(&labels, &parents),
            ]
        };
        let (a, b) = (sides(&row["a"]), sides(&row["b"]));
        let expected = Some(number(&row["distance"]));
        for sides in [[0, 1], [0, 0], [1, 1]] {
            let [one, other] = sides;
            let found = tree_distance([&a[one], &a[other]], [&b[one], &b[other]]);
            assert_eq!(found, expected, "{row}");
        }
    }
}

fn dependence(text: &str) -> Dependence {
    let mut words = text.split(' ');
    let kind = words.next();
    let numbers: Vec<u32> = words.map(|word| word.parse().expect("a number")).collect();
    match (kind, &numbers[..]) {
        (Some("control"), &[branch]) => Dependence::Control(branch),
        (Some("data"), &[from, to]) => Dependence::Data(from, to),
        _ => panic!("no edge: {text}"),
    }
}

/// Would catch a search that stops before the smallest distance, or a bound that is none.
#[test]
fn graphs_are_as_far_apart_as_in_networkx() {
    for row in rows("graphs.jsonl") {
        let graph = |value: &Value| {
            let texts = list(&value["vertices"]).iter();
            let mut edges: Vec<(u32, u32, Dependence)> = list(&value["edges"])
                .iter()
                .map(|edge| {
                    let label = dependence(edge[2].as_str().expect("a label"));
                    (number(&edge[0]), number(&edge[1]), label)
                })
                .collect();
            edges.sort_unstable();
            Graph {
                vertices: texts
                    .map(|text| text.as_str().expect("a label").to_owned())
                    .collect(),
                edges,
            }
        };
        let (a, b) = (graph(&row["a"]), graph(&row["b"]));
        let expected = Distance {
            edits: number(&row["distance"]),
            exact: true,
        };
        assert_eq!(graph_distance(&a, &b), expected, "{row}");
        assert_eq!(graph_distance(&b, &a), expected, "{row}");
    }
}

/// Would catch a decision that is missed, or one that decides nothing.
#[test]
fn control_depends_as_by_networkx_postdominators() {
    for row in rows("flows.jsonl") {
        let ways = list(&row["ways"]);
        let mut flow = Flow::default();
        while flow.successors.len() < ways.len() {
            flow.add(Effects::default());
        }
        for (node, ways) in flow.successors.iter_mut().zip(ways) {
            *node = list(ways)
                .iter()
                .map(|way| (number(&way[0]), number(&way[1])))
                .collect();
        }
        let expected: Vec<(u32, u32, u32)> = list(&row["dependences"])
            .iter()
            .map(|found| (number(&found[0]), number(&found[1]), number(&found[2])))
            .collect();
        assert_eq!(flow.control_dependences(), expected, "{row}");
    }
}

/// Would catch a statement with the wrong place in the flow, or a name with the wrong role.
#[test]
fn programs_have_the_graphs_drawn_by_hand() {
    let text = golden("programs.txt");
    let mut count = 0;
    for block in text.split("=== ").skip(1) {
        count += 1;
        let (head, rest) = block.split_once('\n').expect("a head");
        let (program, drawn) = rest.split_once("---\n").expect("a graph");
        let language = head.split(' ').next().expect("a language");
        let place = Language::place(language).expect("it is known");
        let mut comparer = Comparer::new(place).expect("a grammar");
        let syntax = comparer.syntax(program).expect("it parses");
        let graph = comparer.graph(&syntax).expect("a graph");
        let vertices = graph.vertices.iter().enumerate();
        let mut lines: Vec<String> = vertices
            .map(|(at, label)| format!("{at} {label}"))
            .collect();
        let mut edges: Vec<String> = graph
            .edges
            .iter()
            .map(|(from, to, label)| match label {
                Dependence::Control(branch) => format!("{from} -> {to}: control {branch}"),
                Dependence::Data(set, read) => format!("{from} -> {to}: data {set} {read}"),
            })
            .collect();
        let (mut expected, mut expected_edges): (Vec<&str>, Vec<&str>) =
            drawn.lines().partition(|line| !line.contains(" -> "));
        edges.sort_unstable();
        expected_edges.sort_unstable();
        lines.extend(edges);
        expected.extend(expected_edges);
        assert_eq!(lines, expected, "{head}");
    }
    assert!(count >= 17, "programs are missing");
}
