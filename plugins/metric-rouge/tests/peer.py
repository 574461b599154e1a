"""Scores pairs with rouge-score: JSON lines in, JSON lines out.

In: {"references": [...], "prediction": "..."}. Out: precision, recall and
F-measure by "variant stemmer".
"""

import json
import sys

from rouge_score.rouge_scorer import RougeScorer

VARIANTS = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
scorers = {stemmer: RougeScorer(VARIANTS, use_stemmer=stemmer) for stemmer in (True, False)}

for line in sys.stdin:
    pair = json.loads(line)
    scores = {}
    for stemmer, scorer in scorers.items():
        multi = scorer.score_multi(pair["references"], pair["prediction"])
        scores.update({f"{variant} {stemmer}": list(score) for variant, score in multi.items()})
    print(json.dumps(scores))
