"""Scores pairs with sacrebleu's chrF: JSON lines in, JSON lines out.

In: first the options by name, then a {"references": [...], "prediction": "..."}
a line. Out: a score by name; the last line has those of all pairs as one corpus.
"""

import json
import sys

from sacrebleu.metrics import CHRF

metrics = {name: CHRF(**options) for name, options in json.loads(sys.stdin.readline()).items()}
pairs = [json.loads(line) for line in sys.stdin]
for pair in pairs:
    scores = {
        name: chrf.sentence_score(pair["prediction"], pair["references"]).score
        for name, chrf in metrics.items()
    }
    print(json.dumps(scores))

texts = [pair["prediction"] for pair in pairs]
streams = [list(stream) for stream in zip(*(pair["references"] for pair in pairs))]
scores = {name: chrf.corpus_score(texts, streams).score for name, chrf in metrics.items()}
print(json.dumps(scores))
