"""Reads all of its input, counts words, formats."""
import sys
from collections import Counter

counts = Counter(sys.stdin.read().split())
for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
    print(f"{word:<8}|{count:>3}|{count / len(counts):.3f}")
