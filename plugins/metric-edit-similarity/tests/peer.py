"""Similarity of pairs of texts: JSON lines in, JSON lines out.

In: [reference, response]. Out: a similarity by variant. fuzzywuzzy takes its
ratio from Levenshtein where that is installed, as CodeXGLUE's evaluators ask.
"""

import json
import sys

import Levenshtein
from fuzzywuzzy import fuzz

for line in sys.stdin:
    a, b = json.loads(line)
    longest = max(len(a), len(b), 1)
    scores = {
        "levenshtein": 1.0 - Levenshtein.distance(a, b) / longest,
        "codexglue": fuzz.ratio(a, b) / 100,
    }
    print(json.dumps(scores))
