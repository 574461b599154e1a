"""Scores pairs with nltk and sacrebleu: JSON lines in, JSON lines out.

In: {"references": [...], "prediction": "..."}. Out: a score by name; the last
line has those of all pairs as one corpus.
"""

import json
import logging
import sys
import warnings

from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu
from sacrebleu.metrics import BLEU

# One warning for each order without a match, and for sentences without effective order.
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

METHODS = ["method0", "method1", "method2", "method3", "method4"]
SMOOTHINGS = ["exp", "floor", "add-k", "none"]
smoothing = {name: getattr(SmoothingFunction(), name) for name in METHODS}
sentence = {s: BLEU(smooth_method=s, effective_order=True) for s in SMOOTHINGS}
corpus = {s: BLEU(smooth_method=s) for s in SMOOTHINGS}

pairs = [json.loads(line) for line in sys.stdin]
tokens = [[reference.split() for reference in pair["references"]] for pair in pairs]
predictions = [pair["prediction"].split() for pair in pairs]
for pair, references, prediction in zip(pairs, tokens, predictions):
    scores = {
        f"nltk {name}": sentence_bleu(references, prediction, smoothing_function=function)
        for name, function in smoothing.items()
    }
    for name, bleu in sentence.items():
        score = bleu.sentence_score(pair["prediction"], pair["references"])
        scores[f"sacrebleu {name}"] = score.score
    print(json.dumps(scores))

scores = {
    f"nltk {name}": corpus_bleu(tokens, predictions, smoothing_function=function)
    for name, function in smoothing.items()
}
texts = [pair["prediction"] for pair in pairs]
streams = [list(stream) for stream in zip(*(pair["references"] for pair in pairs))]
for name, bleu in corpus.items():
    scores[f"sacrebleu {name}"] = bleu.corpus_score(texts, streams).score
print(json.dumps(scores))
