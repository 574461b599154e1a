"""Glue between the language and the bindings that `build.sh` generates from `wit/`. Its rules don't belong here."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.code_runner import Descriptor
from wit_world.imports.types import Error, Outcome
from wit_world.imports.values import Node_Integer, Value

# A component holds the modules that were imported when it was built, and no others. Python imports
# this one by itself, at the first integer of some thousand digits.
import _pylong  # noqa: F401
import rpn
from options import PluginError, check_options

# The program of this instance, which loads one.
_program: rpn.Program | None = None


def _parse(language: str, source: str) -> rpn.Program:
    try:
        rpn.check_language(language)
        return rpn.Program(source)
    except PluginError as error:
        raise Err(Error(error.code, error.message)) from None


def _exception(name: str, detail: str) -> Outcome:
    return Outcome("exception", name, detail, 0, b"", b"")


def _outcome(ended: rpn.Outcome) -> Outcome:
    return Outcome(ended.kind, ended.exception, ended.detail, 0, ended.stdout, b"")


def _integer(value: Value) -> int:
    """The integer that crossed as an arena of nodes; this language has no other values."""
    node = value.nodes[value.root] if value.root < len(value.nodes) else None
    if isinstance(node, Node_Integer) and rpn.is_number(node.value):
        return int(node.value)
    raise Err(_exception("BadArgument", f"expected an integer, found {type(node).__name__}"))


class CodeRunner(exports.CodeRunner):
    """The exported interface; its functions are documented in `wit/code-runner.wit`."""

    def describe(self) -> Descriptor:
        return Descriptor(rpn.NAME, rpn.VERSION, rpn.SUMMARY, rpn.LANGUAGES, extra=[])

    def configure(self, options: str) -> None:
        try:
            check_options(options)
        except PluginError as error:
            raise Err(Error(error.code, error.message)) from None

    def check(self, language: str, source: str) -> None:
        _parse(language, source)

    def load(self, language: str, source: str) -> None:
        global _program
        _program = _parse(language, source)

    def run(self, stdin: bytes) -> Outcome:
        if _program is None:
            return _exception("NotLoaded", "`run` was called before `load`")
        return _outcome(_program.run(stdin))

    def call(self, function: str, arguments: list[Value]) -> Value:
        if _program is None:
            raise Err(_exception("NotLoaded", "`call` was called before `load`"))
        result = _program.call(function, [_integer(argument) for argument in arguments])
        if isinstance(result, rpn.Outcome):
            raise Err(_outcome(result))
        return Value([Node_Integer(str(result))], root=0)

    def judge(self, language: str, prompt: str, test: str) -> Outcome:
        return Outcome("cannot-judge", "", "tests that are code can't be judged in `rpn`", 0, b"", b"")
