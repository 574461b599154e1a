"""Leaves with a status, after its exit functions."""
import atexit
import sys

atexit.register(print, "second")
atexit.register(print, "first")
print("talk", file=sys.stderr)
sys.exit(3)
