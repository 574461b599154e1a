"""Scores the same pairs again and again with the metrics people use in Python.

The pairs are the file's (JSON Lines with `prediction` and `reference`). For each line on stdin,
`NAME ROUND`, one line: the seconds that one pass over all pairs takes, each text with a last line of that
round's, so that no text is met twice; or `none` where the package is missing. Packages: nltk 3.10.4,
sacrebleu 2.6.0, rouge-score 0.1.2, codebleu 0.7.0 with tree-sitter-python 0.21.0.
"""

import json
import logging
import sys
import time
import warnings

# One warning for each order without a match, and for each pair without data flow.
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)


def bleu():
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    method = SmoothingFunction().method1
    return lambda a, b: sentence_bleu([b.split()], a.split(), smoothing_function=method)


def sacrebleu():
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    return lambda a, b: metric.sentence_score(a, [b]).score


def chrf():
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return lambda a, b: metric.sentence_score(a, [b]).score


def rouge():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    return lambda a, b: scorer.score(b, a)


def codebleu():
    from codebleu import calc_codebleu

    return lambda a, b: calc_codebleu([[b]], [a], "python")


METRICS = {
    "bleu": bleu,
    "bleu sacrebleu": sacrebleu,
    "chrf": chrf,
    "rouge": rouge,
    "codebleu": codebleu,
}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    made = {}
    for line in sys.stdin:
        name, number = line.rsplit(" ", 1)
        if name not in made:
            try:
                made[name] = METRICS[name]()
                made[name]("a = 1", "a = 2")
            except (ImportError, KeyError):
                made[name] = None
        score = made[name]
        if score is None:
            print("none", flush=True)
            continue
        end = f"\n_ = {int(number)}\n"
        pairs = [(row["prediction"] + end, row["reference"] + end) for row in rows]
        start = time.perf_counter()
        for prediction, reference in pairs:
            score(prediction, reference)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
