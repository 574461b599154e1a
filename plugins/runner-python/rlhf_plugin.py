"""The exported interface, documented in `wit/0.1.0/code-runner.wit`. The runner itself is in `rlhf_runner`.

This module is imported when the component is built, and with it everything that programs may import: what
is built is a snapshot of the memory after these lines.
"""

# First, so that what is imported later finds the streams, clocks and random numbers of programs.
from rlhf_runner import system  # isort: skip

import rlhf_runner.library  # noqa: F401  # isort: skip

# What every program uses lies together behind the library, on few pages.
system.fill()

from componentize_py_types import Err
from rlhf_runner import judge, loop, program
from rlhf_runner.options import check_options
from rlhf_runner.values import pack, unpack
from wit_world.exports.code_runner import Descriptor
from wit_world.imports.types import Error, Outcome

LANGUAGES = [("python", "3.14")]


def _language(language):
    if language != "python":
        message = f"language: expected `python`, found `{language}`"
        raise Err(Error("unsupported-language", message))


def _loading(load, source):
    refused = load(source)
    if refused is not None:
        raise Err(Error(*refused))


class CodeRunner:
    """Every function ends in a value, whatever the program does: an exception that leaves it would be a trap."""

    def describe(self):
        summary = "runs Python: CPython 3.14 with its standard library, booted when it was built"
        return Descriptor("python", "0.1.0", summary, LANGUAGES, [])

    def configure(self, options):
        refused = check_options(options)
        if refused is not None:
            raise Err(Error("bad-option", refused))

    def check(self, language, source):
        _language(language)
        _loading(program.check, source)

    def load(self, language, source):
        _language(language)
        _loading(program.load, source)

    def run(self, stdin):
        return Outcome(*program.run(stdin))

    def call(self, function, arguments):
        returned, result = program.call(function, [unpack(argument) for argument in arguments], pack)
        if not returned:
            raise Err(Outcome(*result))
        return result

    def judge(self, language, prompt, test):
        if language != "python":
            return Outcome("unsupported-language", "", f"language: expected `python`, found `{language}`", 0, b"", b"")
        return Outcome(*judge.judge(prompt, test))


def _rehearse():
    """Runs through everything once, so that what is made at the first use is in the snapshot."""
    runner = CodeRunner()
    runner.describe()
    runner.configure("{}")
    for source, function in (
        ("import math\n\ndef f(x, y=2):\n    return {'a': [x, y, math.pi, (None, True)]}\n\nassert f(1)\nprint(f('é'))\n", "f"),
        ("class E(Exception):\n    pass\n\ndef f(*x):\n    raise E('x')\n\nf()\n", "f"),
        ("print(input())\nraise SystemExit('x')\n", "g"),
        ("raise KeyError('x')\n", "g"),
    ):
        for _ in range(20):
            for end in (lambda: runner.run(b"a b\n"), lambda: runner.call(function, [pack([1, "b"])])):
                program.prepare()
                runner.load("python", source)
                try:
                    end()
                except Err:
                    pass
        runner.judge("python", "def f(x):\n    pass\n", source)
    for source in ("", "x = = 1"):
        try:
            runner.check("python", source)
        except Err:
            pass
    judge.forget()


loop.install()
_rehearse()
system.seal()
