"""Counts with pycodestyle and radon: JSON lines in, JSON lines out.

In: {"text": "..."}. Out: `pycodestyle` (counts by code, or null where it ends in
an exception), and, where the text parses, `radon_cc` (letter, name, complexity)
and `module` (radon's complexity of what is outside of blocks), else null.
"""

import json
import sys
import warnings

import pycodestyle
from radon.complexity import cc_visit
from radon.visitors import ComplexityVisitor

# Python warns of odd escapes.
warnings.simplefilter("ignore")


def violations(text):
    options = pycodestyle.StyleGuide(quiet=2).options
    report = pycodestyle.BaseReport(options)
    checker = pycodestyle.Checker("text", lines=text.splitlines(True), options=options, report=report)
    try:
        checker.check_all()
    except IndexError:
        return None
    return {code: report.counters[code] for code in sorted(report.messages)}


def complexity(text):
    try:
        blocks = cc_visit(text)
        module = ComplexityVisitor.from_code(text).complexity
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None, None
    return [[block.letter, block.name, block.complexity] for block in blocks], module


for line in sys.stdin:
    text = json.loads(line)["text"]
    radon_cc, module = complexity(text)
    print(json.dumps({"pycodestyle": violations(text), "radon_cc": radon_cc, "module": module}))
