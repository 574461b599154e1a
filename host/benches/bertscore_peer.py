"""Scores the same pairs again and again with bert-score 0.3.13, on all cores.

Arguments: the pairs' file and the model's folder. For each line on stdin, the number of a round, one line: the
seconds that all pairs take, each text with a last line of that round's; or `none` where the package is missing.
Needs transformers 4: with a later one in the same Python, name a folder that has both packages in PYTHONPATH.
"""

import json
import os
import sys
import time

try:
    import torch
    from bert_score import BERTScorer
except ImportError:
    BERTScorer = None


def main():
    rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
    if BERTScorer is not None:
        torch.set_num_threads(os.cpu_count())
        scorer = BERTScorer(model_type=sys.argv[2], num_layers=6, device="cpu", batch_size=64)
    for line in sys.stdin:
        if BERTScorer is None:
            print("none", flush=True)
            continue
        end = f"\n_ = {line.strip()}\n"
        texts = [[row[side] + end for row in rows] for side in ("prediction", "reference")]
        start = time.perf_counter()
        scorer.score(*texts)
        print(time.perf_counter() - start, flush=True)


main()
