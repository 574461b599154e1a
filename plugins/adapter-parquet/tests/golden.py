"""Writes the files in `golden/`, with the rows they expect.

    pip install pyarrow==26.0.1 pandas==3.1.1 duckdb==2.0.0 polars==2.1.0
    python3 tests/golden.py

What is expected comes from the tables that are written, not from the adapter.
"""

import json
import os
import random
from decimal import Decimal

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
ORIGIN = f"pyarrow {pa.__version__}"


def save(name, rows, origin, options=None):
    with open(os.path.join(FOLDER, f"{name}.expected.jsonl"), "w", encoding="utf-8") as file:
        for line in [{"origin": origin, "options": options or {}}, *rows]:
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def write(name, table, rows, options=None, how="write_table", **arguments):
    path = os.path.join(FOLDER, name)
    pq.write_table(table, path, **arguments)
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    for index, row in enumerate(rows):
        row.update(line=0, row=index + 1)
        if "error" not in row:
            row.setdefault("extra", [])
    save(name, rows, f"{ORIGIN}, `{how}({shown})`; rows from the table that was written", options)


def demonstrations(count, text=lambda index: f"r{index}" * (index % 7)):
    return [{"prompt": f"p{index % 3}", "response": text(index)} for index in range(count)]


def as_rows(kind, rows):
    return [{"kind": kind, **row} for row in rows]


def codecs():
    rows = demonstrations(40, lambda index: f"return {index}\n" * 3)
    table = pa.Table.from_pylist(rows)
    for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
        # The second version compresses values apart from levels.
        for version in ["1.0", "2.0"]:
            write(
                f"codec-{codec}-{version[0]}.parquet",
                table,
                as_rows("demonstration", rows),
                compression=codec,
                data_page_version=version,
                data_page_size=256,
                row_group_size=25,
                write_batch_size=4,
            )


def encodings():
    rows = [
        {
            "prompt": f"prefix {index:04}",
            "response": f"prefix {index * index}" if index % 5 else "",
            "rating": (index - 20) * 1_000_003,
            "score": index / 8,
            "good": index % 3 == 0,
            "steps": index * 7 - 100,
        }
        for index in range(150)
    ]
    schema = pa.schema([
        ("prompt", pa.string()), ("response", pa.large_string()), ("rating", pa.int64()),
        ("score", pa.float64()), ("good", pa.bool_()), ("steps", pa.int32()),
    ])
    table = pa.Table.from_pylist(rows, schema)
    expected = [
        {
            "kind": "rating", "prompt": row["prompt"], "response": row["response"],
            "rating": float(row["rating"]), "logits": [],
            "extra": [["score", json.dumps(row["score"])], ["good", json.dumps(row["good"])], ["steps", str(row["steps"])]],
        }
        for row in rows
    ]
    write(
        "encodings.parquet", table, expected, compression="zstd", use_dictionary=False,
        column_encoding={
            "prompt": "DELTA_BYTE_ARRAY", "response": "DELTA_LENGTH_BYTE_ARRAY", "rating": "DELTA_BINARY_PACKED",
            "score": "BYTE_STREAM_SPLIT", "good": "RLE", "steps": "DELTA_BINARY_PACKED",
        },
    )
    # The dictionary is full after some values; the others are plain.
    write("dictionary-full.parquet", table, expected, dictionary_pagesize_limit=300, data_page_size=200, write_batch_size=8)


def lists():
    rows = [
        {"prompt": "p1", "references": ["a", "b"], "tests": ["assert f() == 1"]},
        {"prompt": "p2", "references": [], "tests": ["t"]},
        {"prompt": "p3", "references": None, "tests": ["t1", "t2", "t3"]},
        {"prompt": "p4", "references": ["é", ""], "tests": None},
    ] * 20
    schema = pa.schema([("prompt", pa.string()), ("references", pa.list_(pa.string())), ("tests", pa.large_list(pa.large_string()))])
    expected = [
        {"kind": "evaluation", "prompt": row["prompt"], "references": row["references"] or [], "tests": row["tests"] or []}
        for row in rows
    ]
    table = pa.Table.from_pylist(rows, schema)
    for version in ["1.0", "2.0"]:
        write(f"lists-{version[0]}.parquet", table, [dict(row) for row in expected], data_page_version=version, data_page_size=64, write_batch_size=4, row_group_size=30)

    rows = [
        {"prompt": "p", "response": "r", "rating": 4.5, "logits": [0.25, -1.0]},
        {"prompt": "p", "response": "r", "rating": 3.0, "logits": []},
        {"prompt": "p", "response": "r", "rating": 2.0, "logits": None},
        {"prompt": "p", "response": "r", "rating": None, "logits": [1.0]},
        {"prompt": None, "response": "r", "rating": 1.0, "logits": [1.0]},
        {"prompt": "p", "response": "r", "rating": float("nan"), "logits": [1.0]},
        {"prompt": "p", "response": "r", "rating": 1.0, "logits": [1.0, None]},
    ]
    expected = as_rows("rating", [{**row, "logits": row["logits"] or []} for row in rows])
    expected[3] = {"field": "rating", "error": "expected a number, found null"}
    expected[4] = {"field": "prompt", "error": "expected text, found null"}
    expected[5] = {"field": "rating", "error": "expected a number, found the number NaN"}
    expected[6] = {"field": "logits", "error": "number 2: expected a number, found null"}
    schema = pa.schema([("prompt", pa.string()), ("response", pa.string()), ("rating", pa.float64()), ("logits", pa.list_(pa.float64()))])
    write("ratings.parquet", pa.Table.from_pylist(rows, schema), expected)


def conversations():
    def message(role, content):
        return [{"content": content, "role": role}]

    def spoken(row):
        texts = {field: json.dumps(row[field], separators=(",", ":")) for field in row}
        return {**texts, "extra": [["rlhf:conversation", "prompt,chosen,rejected"]]}

    rows = [
        {"prompt": message("user", "p"), "chosen": message("assistant", "c"), "rejected": message("assistant", "r")},
        {"prompt": message("user", "p") * 2, "chosen": message("assistant", "c"), "rejected": message("assistant", "r")},
        {"prompt": message("user", "p"), "chosen": message("user", "c"), "rejected": message("assistant", "r")},
        {"prompt": message("user", "p"), "chosen": message("assistant", None), "rejected": message("assistant", "r")},
    ]
    expected = [
        {"kind": "comparison", **spoken(rows[0])},
        {"kind": "comparison", **spoken(rows[1])},
        {"field": "chosen", "error": 'expected a last message of the assistant, found one of "user"'},
        {"field": "chosen", "error": "expected a message's text, found null"},
    ]
    write("conversations.parquet", pa.Table.from_pylist(rows), expected)


def types():
    """What becomes of columns that fill no field."""
    table = pa.table({
        "prompt": pa.array(["p"], pa.string()).dictionary_encode(),
        "response": pa.array([b"r"], pa.binary()),
        "u8": pa.array([255], pa.uint8()),
        "u64": pa.array([2**64 - 1], pa.uint64()),
        "i8": pa.array([-1], pa.int8()),
        "f32": pa.array([0.5], pa.float32()),
        "inf": pa.array([float("inf")], pa.float64()),
        "decimal": pa.array([Decimal("-12.34")], pa.decimal128(12, 2)),
        "none": pa.nulls(1),
        "bytes": pa.array([b"\xff"], pa.binary()),
        "struct": pa.array([{"a": 1, "b": [None, "x"]}]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
    })
    extra = [
        ["u8", "255"], ["u64", str(2**64 - 1)], ["i8", "-1"], ["f32", "0.5"], ["inf", "inf"], ["decimal", "-12.34"],
        ["struct", '{"a":1,"b":[null,"x"]}'], ["map", '[{"key":"k","value":1}]'],
    ]
    rows = [{"kind": "demonstration", "prompt": "p", "response": "r", "extra": extra}]
    write("types.parquet", table, rows)


def nested():
    """Levels of every depth, in pages that end in the middle of a row."""
    chance = random.Random(7)

    def maybe(value):
        return None if chance.random() < 0.2 else value()

    def some(value):
        return [value() for _ in range(chance.randrange(4))]

    def text():
        return maybe(lambda: chance.choice(["", "a", "é"]))

    def struct():
        return {"a": maybe(lambda: chance.randrange(-9, 9)), "b": maybe(lambda: some(text))}

    item = pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])
    schema = pa.schema([("prompt", pa.string()), ("response", pa.string()), ("x", pa.list_(pa.list_(item)))])
    rows = [
        {"prompt": "p", "response": "r", "x": maybe(lambda: some(lambda: maybe(lambda: some(lambda: maybe(struct)))))}
        for _ in range(60)
    ]
    compact = {"ensure_ascii": False, "separators": (",", ":")}
    for version in ["1.0", "2.0"]:
        expected = [
            {
                "kind": "demonstration", "prompt": "p", "response": "r",
                "extra": [] if row["x"] is None else [["x", json.dumps(row["x"], **compact)]],
            }
            for row in rows
        ]
        write(
            f"nested-{version[0]}.parquet", pa.Table.from_pylist(rows, schema), expected,
            data_page_version=version, data_page_size=32, write_batch_size=3, row_group_size=25,
        )


def predictions():
    rows = [{"task_id": f"HumanEval/{index}", "completion": f"    return {index}\n"} for index in range(3)]
    expected = [
        {"kind": "prediction", "id": row["task_id"], "prompt": "", "response": row["completion"], "references": [], "tests": [], "language": ""}
        for row in rows
    ]
    options = {"kind": "prediction"}
    write("humaneval-samples.parquet", pa.Table.from_pylist(rows), expected, options)
    rows = [
        {"id": 7, "generation": "x", "language": "Python", "prompt": None, "test": "t"},
        {"id": None, "generation": None, "language": None, "prompt": "p", "test": None},
    ]
    expected = [
        {"kind": "prediction", "id": "7", "prompt": "", "response": "x", "references": [], "tests": ["t"], "language": "python"},
        {"field": "generation", "error": "expected text, found null"},
    ]
    write("predictions.parquet", pa.Table.from_pylist(rows), expected, options)


def tasks():
    """Data sets of programming tasks as they are on hubs: lists are lists, cases are structs."""
    rows = [
        {
            "task_id": 12,
            "text": "Write a function to find the root of a tree.",
            "code": "def root(t):\n  return t.data",
            "test_list": ["assert root(t) == 5", "assert root(t) != 6"],
            "test_setup_code": "class Tree:\n    data = 5\nt = Tree()",
            "challenge_test_list": [],
        },
        {"task_id": 13, "text": "Nothing.", "code": None, "test_list": ["assert True"], "test_setup_code": "", "challenge_test_list": None},
    ]
    set_up = rows[0]["test_setup_code"]
    expected = [
        {
            "kind": "evaluation",
            "prompt": rows[0]["text"],
            "references": [rows[0]["code"]],
            "tests": [f"{set_up}\n{test}" for test in rows[0]["test_list"]],
            "extra": [["task_id", "12"], ["challenge_test_list", "[]"]],
        },
        {"kind": "evaluation", "prompt": "Nothing.", "references": [], "tests": ["assert True"], "extra": [["task_id", "13"]]},
    ]
    write("mbpp.parquet", pa.Table.from_pylist(rows), expected)
    rows = [
        {"task_id": "HumanEval/x", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n", "test": "def check(candidate):\n    assert candidate(1) == 1\n"},
    ]
    expected = [
        {
            "kind": "evaluation",
            "prompt": rows[0]["prompt"],
            "references": [rows[0]["canonical_solution"]],
            "tests": [rows[0]["test"] + "\n\ncheck(f)\n"],
            "extra": [["task_id", "HumanEval/x"]],
        },
    ]
    write("humaneval-tasks.parquet", pa.Table.from_pylist(rows), expected)
    rows = [
        {"id": "a", "prompt": "Double.", "tests": [{"input": "1", "output": "2"}, {"input": "2", "output": "4"}]},
        {"id": "b", "prompt": "Double.", "tests": [{"input": "1", "output": None}]},
    ]
    expected = [
        {"kind": "evaluation", "prompt": "Double.", "references": [], "tests": ['{"input":"1","output":"2"}', '{"input":"2","output":"4"}'], "extra": [["id", "a"]]},
        {"field": "tests", "error": "item 1: `output`: expected text or a list of lines, found null"},
    ]
    write("cases.parquet", pa.Table.from_pylist(rows), expected)


def frames():
    """pandas keeps an index that isn't a range, and columns of its own types."""
    frame = pandas.DataFrame({"question": ["q1", "q2"], "answer": ["a1", "a2"]}, index=[5, 9])
    name = "pandas.parquet"
    frame.to_parquet(os.path.join(FOLDER, name))
    rows = [
        {"kind": "demonstration", "prompt": f"q{n}", "response": f"a{n}", "line": 0, "row": n, "extra": [["__index_level_0__", str(index)]]}
        for n, index in ((1, 5), (2, 9))
    ]
    origin = f"pandas {pandas.__version__}, {ORIGIN}, `DataFrame.to_parquet`; rows from the frame that was written"
    save(name, rows, origin, {"columns": {"prompt": "question", "response": "answer"}})


def others():
    """Files of writers that are not pyarrow."""
    rows = [
        {"prompt": f"p{index}", "response": f"é{index}", "rating": index / 2, "logits": [index * 0.5, 1.0]}
        for index in range(20)
    ]
    expected = [{"kind": "rating", **row, "line": 0, "row": index + 1, "extra": []} for index, row in enumerate(rows)]
    frame = polars.DataFrame(rows)
    frame.write_parquet(os.path.join(FOLDER, "polars.parquet"))
    save("polars.parquet", expected, f"polars {polars.__version__}, `DataFrame.write_parquet`; rows from the frame that was written")
    for version in ["V1", "V2"]:
        name = f"duckdb-{version[1]}.parquet"
        path = os.path.join(FOLDER, name)
        duckdb.sql(f"copy frame to '{path}' (format parquet, parquet_version {version})")
        save(name, expected, f"duckdb {duckdb.__version__}, `copy … (format parquet, parquet_version {version})`; rows from the frame that was written")


def refused():
    def end(name, code, message, origin, options=None):
        save(name, [{"end": {"code": code, "message": message}}], origin, options)

    path = os.path.join(FOLDER, "unmapped.parquet")
    pq.write_table(pa.table({"intent": ["i"], "snippet": ["s"]}), path)
    end(
        "unmapped.parquet", "missing-column",
        "columns: found `intent`, `snippet`; expected `prompt`, `chosen`, `rejected` for a comparison; or `prompt`, `response`, `rating` for a rating; "
        "or `prompt`, `response` for a demonstration; or `prompt`, `references` or `tests` for an evaluation\n"
        'hint: set the option `columns` to {"prompt": "intent", "response": "snippet"}',
        ORIGIN,
    )
    with open(path, "rb") as file:
        whole = file.read()
    changed = {
        "cut-off.parquet": (whole[:-20], "bad-parquet", "footer: expected `PAR1` at the end, found something else: is the file complete?"),
        "csv.parquet": (b"prompt,response\np,r\n", "not-parquet", "expected `PAR1` at the beginning, found something else: is this a Parquet file?"),
        "empty.parquet": (b"", "not-parquet", "expected `PAR1` at the beginning, found something else: is this a Parquet file?"),
        "encrypted.parquet": (
            whole[:-4] + b"PARE", "unsupported",
            "footer: found encryption, which can't be read\nhint: write the file without encryption",
        ),
    }
    for name, (data, code, message) in changed.items():
        with open(os.path.join(FOLDER, name), "wb") as file:
            file.write(data)
        end(name, code, message, f"written for this test, from bytes of {ORIGIN}")


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for part in (codecs, encodings, lists, conversations, types, nested, predictions, tasks, frames, others, refused):
        part()
