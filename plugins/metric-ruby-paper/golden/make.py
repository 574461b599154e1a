"""Writes the golden files beside it: `python golden/make.py PAIRS`; see README.md.

PAIRS is a file of pairs, a JSON object a line with `id`, `reference`, `prediction` and maybe `lang`.
"""

import json
import random
import re
import sys
from pathlib import Path

import apted
import editdistance
import networkx as nx
import tree_sitter_c
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_python
import zss
from tree_sitter import Language, Parser

HERE = Path(__file__).parent
GRAMMARS = {
    "python": tree_sitter_python,
    "java": tree_sitter_java,
    "javascript": tree_sitter_javascript,
    "c": tree_sitter_c,
}
PUNCTUATION = set("()[]{},;.:\n")
LITERAL = ("string", "char", "rune", "escape", "content", "fragment")


def write(name, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / name).write_text(text)


# Strings.


def sts(a, b):
    """1 - SED / max(length): editdistance on the tokens that one regular expression finds."""
    a, b = (re.findall(r"[A-Za-z0-9_\x80-\U0010ffff]+|[!-~]", text) for text in (a, b))
    longest = max(len(a), len(b))
    return 1.0 if longest == 0 else 1.0 - editdistance.eval(a, b) / longest


# Trees.


def is_literal(kind):
    return any(piece in kind for piece in LITERAL)


def parts(node):
    return [c for c in node.children if c.is_named and not (c.is_extra and "comment" in c.type)]


def is_leaf(node):
    return not node.children or is_literal(node.type) and all(is_literal(p.type) for p in parts(node))


def tree(node, root=True):
    """`[label, children]` of an abstract syntax tree; see ast.rs."""
    label = node.type
    if root:
        pass
    elif is_leaf(node):
        return [label + "\n" + node.text.decode(), []]
    else:
        for child in node.children:
            if not child.is_named and child.type not in PUNCTUATION:
                label += " " + child.type
    return [label, [tree(part, False) for part in parts(node)]]


def size(tree):
    return 1 + sum(size(child) for child in tree[1])


def zss_distance(a, b):
    return zss.simple_distance(
        a, b, lambda t: t[1], lambda t: t[0], lambda x, y: 0 if x == y else 1
    )


class Config(apted.Config):
    def rename(self, a, b):
        return 0 if a[0] == b[0] else 1

    def children(self, node):
        return node[1]


def distance_of_trees(a, b):
    distance = zss_distance(a, b)
    assert distance == apted.APTED(a, b, Config()).compute_edit_distance()
    return int(distance)


def dedented(text):
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return text
    common = re.match(r"[ \t]*", lines[0]).group()
    for line in lines:
        while not line.startswith(common):
            common = common[:-1]
    return "\n".join(
        line[len(common) :] if line.startswith(common) else line.lstrip(" \t")
        for line in text.split("\n")
    )


def trs(language, a, b):
    """1 - TED / (size + size), or None where a text doesn't parse: zss and apted."""
    parser = Parser(Language(GRAMMARS[language].language()))
    roots = [parser.parse(dedented(text).encode()).root_node for text in (a, b)]
    if any(root.has_error for root in roots):
        return None
    a, b = (tree(root) for root in roots)
    total = size(a) + size(b) - 2
    return 1.0 if total == 0 else 1.0 - distance_of_trees(a, b) / total


def random_tree(rng, count, labels):
    nodes = [[str(rng.randrange(labels)), []] for _ in range(count)]
    for at in range(1, count):
        nodes[rng.randrange(max(0, at - 4), at)][1].append(nodes[at])
    return nodes[0]


def trees(rng):
    for at in range(60):
        labels = rng.choice([1, 2, 4, 10])
        a = random_tree(rng, rng.randrange(1, 40), labels)
        b = random_tree(rng, rng.randrange(1, 40), labels)
        yield {"a": a, "b": b, "distance": distance_of_trees(a, b)}


# Graphs.


def labels_between(graph):
    between = {}
    for source, target, label in graph["edges"]:
        between.setdefault((source, target), set()).add(label)
    return between


def replaced(x, y):
    """Edits that make one set of parallel edges of another."""
    return max(len(x), len(y)) - len(x & y)


def distance_of_graphs(a, b):
    """networkx's exact distance with unit costs; parallel edges are a set, edited one by one.

    Edges from a vertex to itself are given as a part of the vertex: networkx lets those take the
    place of any edge beside them.
    """

    def made(graph):
        made = nx.DiGraph()
        between = labels_between(graph)
        for at, label in enumerate(graph["vertices"]):
            made.add_node(at, label=label, loops=between.pop((at, at), set()))
        for (source, target), labels in between.items():
            made.add_edge(source, target, labels=labels)
        return made

    return nx.graph_edit_distance(
        made(a),
        made(b),
        node_subst_cost=lambda x, y: (x["label"] != y["label"]) + replaced(x["loops"], y["loops"]),
        node_del_cost=lambda vertex: 1 + len(vertex["loops"]),
        node_ins_cost=lambda vertex: 1 + len(vertex["loops"]),
        edge_subst_cost=lambda x, y: replaced(x["labels"], y["labels"]),
        edge_del_cost=lambda edge: len(edge["labels"]),
        edge_ins_cost=lambda edge: len(edge["labels"]),
    )


def random_graph(rng, count, labels, density):
    vertices = [str(rng.randrange(labels)) for _ in range(count)]
    edges = {
        (a, b, rng.choice(["control 1", "control 2", "data 0 0", "data 0 1", "data 1 0"]))
        for a in range(count)
        for b in range(count)
        for _ in range(2)
        if rng.random() < density
    }
    return {"vertices": vertices, "edges": sorted(edges)}


def changed(rng, graph):
    vertices = [v if rng.random() < 0.8 else str(rng.randrange(4)) for v in graph["vertices"]]
    order = list(range(len(vertices)))
    rng.shuffle(order)
    edges = {(order[a], order[b], l) for a, b, l in graph["edges"] if rng.random() < 0.85}
    placed = [None] * len(vertices)
    for at, label in zip(order, vertices):
        placed[at] = label
    return {"vertices": placed, "edges": sorted(edges)}


def graphs(rng):
    for at in range(80):
        labels, density = rng.choice([1, 2, 4]), rng.choice([0.05, 0.15, 0.3])
        a = random_graph(rng, rng.randrange(0, 7), labels, density)
        if at % 2:
            b = changed(rng, a)
        else:
            b = random_graph(rng, rng.randrange(0, 7), labels, density)
        yield {"a": a, "b": b, "distance": int(distance_of_graphs(a, b))}


# Control dependence.


def control_dependences(ways):
    """Ferrante et al. 1987, section 3.1, on networkx's postdominators. 0 is entry, 1 exit."""
    flow = nx.DiGraph()
    flow.add_nodes_from(range(len(ways)))
    flow.add_edges_from((a, b) for a, tos in enumerate(ways) for b, _ in tos)
    flow.add_edge(0, 1)
    nearest = nx.immediate_dominators(flow.reverse(), 1)
    found = set()
    for source, tos in enumerate(ways):
        for target, branch in tos:
            # All that postdominates the target and not the source.
            at = target
            while at != 1:
                over, strictly = nearest.get(source), False
                walk = source
                while walk != 1:
                    walk = nearest[walk]
                    strictly |= walk == at
                if not strictly:
                    found.add((at, source, branch))
                at = nearest[at]
    return sorted(found)


def flows(rng):
    while True:
        count = rng.randrange(3, 14)
        ways = [[] for _ in range(count)]
        ways[0] = [[rng.randrange(2, count), 0]]
        for at in range(2, count):
            for branch in range(1, 1 + rng.randrange(1, 4)):
                ways[at].append([rng.randrange(1, count), branch])
        flow = nx.DiGraph([(a, b) for a, tos in enumerate(ways) for b, _ in tos])
        flow.add_nodes_from(range(count))
        if all(nx.has_path(flow, at, 1) for at in range(count)):
            yield {"ways": ways, "dependences": control_dependences(ways)}


# Programs: graphs drawn by hand.


def read_programs():
    text = (HERE / "programs.txt").read_text()
    for block in re.split(r"^=== ", text, flags=re.M)[1:]:
        head, rest = block.split("\n", 1)
        program, drawn = rest.split("---\n")
        vertices, edges = [], []
        for line in drawn.strip("\n").split("\n"):
            if " -> " in line:
                ends, label = line.split(": ")
                source, target = ends.split(" -> ")
                edges.append([int(source), int(target), label])
            elif line:
                vertices.append(line.split(" ", 1)[1])
        language, name = head.split(" ")
        yield language, name, program, {"vertices": vertices, "edges": sorted(edges)}


def grs(a, b):
    total = sum(len(g["vertices"]) + len(g["edges"]) for g in (a, b))
    return 1.0 if total == 0 else 1.0 - distance_of_graphs(a, b) / total


def cases(pairs):
    yield {
        "origin": "editdistance 0.8.1 on tokens of Python's re; see README.md",
        "tolerance": 1e-15,
        "options": {"level": "string"},
    }
    for pair in pairs:
        yield case(pair, sts(pair["prediction"], pair["reference"]))
    yield {
        "origin": "zss 1.2.0 and apted 1.0.3 on trees of tree-sitter 0.22.3; see README.md",
        "tolerance": 1e-15,
        "options": {"level": "tree"},
    }
    for pair in pairs:
        language = pair.get("lang", "python")
        if language in GRAMMARS:
            yield case(pair, trs(language, pair["prediction"], pair["reference"]))
    yield {
        "origin": "networkx 3.6.1 on the graphs in programs.txt, drawn by hand; see README.md",
        "tolerance": 1e-15,
        "options": {"level": "graph"},
    }
    programs = list(read_programs())
    for one in programs:
        for other in programs:
            alike = one[0] == other[0] and one[1].split("-")[0] == other[1].split("-")[0]
            if alike:
                pair = {
                    "id": f"{one[0]}-{one[1]}-{other[1]}",
                    "lang": one[0],
                    "prediction": one[2],
                    "reference": other[2],
                }
                yield case(pair, grs(one[3], other[3]))


def case(pair, value):
    return {
        "id": pair["id"],
        "response": pair["prediction"],
        "references": [pair["reference"]],
        "language": pair.get("lang", "python"),
        "expected": {"error": "not-computable"} if value is None else {"value": value},
    }


def main():
    rng = random.Random(1)
    pairs = [json.loads(line) for line in open(sys.argv[1])]
    flow = flows(rng)
    write("flows.jsonl", [next(flow) for _ in range(60)])
    write("trees.jsonl", list(trees(rng)))
    write("graphs.jsonl", list(graphs(rng)))
    write("cases.jsonl", list(cases(pairs)))


if __name__ == "__main__":
    main()
