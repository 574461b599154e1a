"""Scores pairs with codebleu: JSON lines in, JSON lines out.

In: {"language": "...", "references": [...], "prediction": "..."}. Out: the package's result.
Wants PYTHONHASHSEED=0, on which its data-flow match depends.
"""

import json
import logging
import sys

from codebleu import calc_codebleu

# One warning for each pair without data flow.
logging.disable(logging.WARNING)

for line in sys.stdin:
    pair = json.loads(line)
    print(json.dumps(calc_codebleu([pair["references"]], [pair["prediction"]], pair["language"])))
