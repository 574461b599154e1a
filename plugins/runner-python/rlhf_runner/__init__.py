"""What makes CPython a code runner. `rlhf_plugin.py` exports it.

A program shares the interpreter with this package and can reach everything in it, if it wants to. So
nothing here is a verdict: the host compares outputs and results, and tests run in another instance. What
the package does for honest programs is to keep references of its own: each module here has a copy of the
builtins, so that a program which replaces `len` gets what it asked for, and the runner does not.
"""
