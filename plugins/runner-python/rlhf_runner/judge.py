"""Judges tests: the candidate lives in another instance, and all that crosses are values.

A test sees stubs in the place of the candidate's functions. What comes back from them was made here, of
exact types, so that nothing of it is the candidate's code.
"""

import builtins
import inspect
import opcode
import random
import sys
import types
import unittest

from componentize_py_types import Err
from wit_world.imports import candidate
from wit_world.imports.values import Node_Exception

from rlhf_runner import clock, streams
from rlhf_runner.outcomes import ended
from rlhf_runner.program import compiled
from rlhf_runner.values import NotAValue, exception, pack, unpack

__builtins__ = dict(__builtins__)

PROMPT = "prompt.py"
TEST = "test.py"

# What ends a candidate otherwise than by an exception, as the host names it in an exception's place.
_ENDINGS = frozenset(
    ["exit", "stack", "trap", "panic", "refused", "syntax-error", "GeneratorExit", "KeyboardInterrupt", "SystemExit"]
)
_LIVE = frozenset(["not-a-value", "cannot-judge"])

_modules = sys.modules
_default_recursion = sys.getrecursionlimit()

# The first thing that keeps the test in progress from being passed, whatever the test makes of it.
_spoilt = None
# The last prompt and test, compiled: a judge sees many candidates of one task.
_last = (None, None)


class CannotJudge(BaseException):
    """The test needs more of the candidate than values; `kind` says whether the candidate's result is the reason."""

    def __init__(self, message, kind=""):
        super().__init__(message)
        self.kind = kind


class CandidateEnded(BaseException):
    """The candidate ended otherwise than by returning or raising."""

    def __init__(self, kind, message):
        super().__init__(kind, message)
        self.kind, self.message = kind, message


def _spoil(reason):
    global _spoilt
    if _spoilt is None:
        _spoilt = reason
    return reason


class _FunctionType(type):
    """The type of the stubs' class: it answers for a stub that is used as a class."""

    def __call__(cls, *arguments, **named):
        if len(arguments) == 3 and type(arguments[1]) is tuple:
            raise _spoil(CannotJudge("the test derives a class from one of the candidate's"))
        return super().__call__(*arguments, **named)


class Function(metaclass=_FunctionType):
    """A function of the candidate's."""

    __slots__ = ("__name__", "__qualname__", "__signature")

    def __init__(self, name, signature=None):
        self.__name__ = self.__qualname__ = name
        self.__signature = signature

    def __call__(self, *arguments, **named):
        name = self.__name__
        if named:
            arguments = _positional(name, self.__signature, arguments, named)
        try:
            packed = [pack(argument) for argument in arguments]
        except NotAValue as unfit:
            raise _spoil(CannotJudge(f"`{name}` is given something {unfit}")) from None
        try:
            result = candidate.call(name, packed)
        except Err as raised:
            error = _raised(name, raised.value)
        else:
            return unpack(result)
        raise error

    def __getattr__(self, attribute):
        raise _spoil(CannotJudge(f"the test uses `{self.__name__}.{attribute}`"))

    def __instancecheck__(self, instance):
        raise _spoil(CannotJudge(f"the test uses `{self.__name__}` as a class"))

    __subclasscheck__ = __instancecheck__

    def __repr__(self):
        return f"<function {self.__name__} of the candidate>"


def _positional(name, function, arguments, named):
    """Arguments by position, for a function whose signature the prompt has."""
    if function is not None:
        try:
            bound = inspect.signature(function).bind(*arguments, **named)
        except TypeError as error:
            raise TypeError(str(error)) from None
        bound.apply_defaults()
        if not bound.kwargs:
            return bound.args
    raise _spoil(CannotJudge(f"`{name}` is given arguments by name, and the prompt doesn't say in which order"))


def _raised(function, value):
    """What a stub raises for what the candidate's function raised."""
    node = value.nodes[value.root] if value.root < len(value.nodes) else None
    if type(node) is not Node_Exception:
        return _spoil(CandidateEnded("trap", "what was raised is no exception"))
    name, message = node.value
    if name in _LIVE:
        return _spoil(CannotJudge(message or f"`{function}` returned something that is no value", name))
    if name in _ENDINGS or "-" in name:
        return _spoil(CandidateEnded(name, message))
    return exception(name, message)


def _refusals():
    """The code of functions whose only statement is `raise NotImplementedError`."""

    def plain():
        raise NotImplementedError

    def called():
        raise NotImplementedError()

    def plain_documented():
        """A docstring shifts the constants."""
        raise NotImplementedError

    def called_documented():
        """A docstring."""
        raise NotImplementedError()

    functions = (plain, called, plain_documented, called_documented)
    return frozenset((function.__code__.co_code, function.__code__.co_names) for function in functions)


_REFUSALS = _refusals()
# What a body of `pass`, `...`, a docstring and imports is compiled to. (HumanEval/115 has an import in its prompt.)
_LOAD_CONST = opcode.opmap["LOAD_CONST"]
_IDLE = frozenset(
    opcode.opmap[name]
    for name in "RESUME NOP CACHE LOAD_CONST IMPORT_NAME IMPORT_FROM STORE_FAST POP_TOP RETURN_VALUE".split()
) | {opcode.opmap["LOAD_SMALL_INT"]}


def _is_bodiless(value):
    """Whether it is a function that the prompt leaves to the candidate."""
    if type(value) is not types.FunctionType:
        return False
    code = value.__code__
    if code.co_filename != PROMPT:
        return False
    body = code.co_code
    if _IDLE.issuperset(body[::2]):
        # What is loaded last is what is returned.
        return body[-4] == _LOAD_CONST and code.co_consts[body[-3]] is None
    return (body, code.co_names) in _REFUSALS


def _names(code, names):
    """Adds the names that code looks up, anywhere within it. Names of attributes are among them, which harms nobody."""
    names.update(code.co_names)
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            _names(constant, names)


def _compiled(prompt, test):
    """Code of the prompt, None where it is none; code of the test, or why it is none; names that the test uses."""
    global _last
    if _last[0] == (prompt, test):
        return _last[1]
    prompt_code, refused = compiled(prompt, PROMPT)
    if refused is not None and prompt.rstrip().endswith(":"):
        # A function that ends where its body would begin.
        prompt_code, _ = compiled(prompt.rstrip() + " pass\n", PROMPT)
    test_code, refused = compiled(test, TEST)
    names = set()
    if test_code is not None:
        _names(test_code, names)
    _last = ((prompt, test), (prompt_code, test_code, refused, frozenset(names)))
    return _last[1]


def _module():
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins
    module.__file__ = TEST
    _modules["__main__"] = module
    return module


def _prepared(prompt_code, names):
    """The test's module: what the prompt defines, and stubs."""
    module = _module()
    namespace = module.__dict__
    if prompt_code is not None:
        try:
            exec(prompt_code, namespace)
        except Exception:  # noqa: BLE001
            # Words that happen to be code. A test that needs them says so.
            module = _module()
            namespace = module.__dict__
    for name, value in list(namespace.items()):
        if _is_bodiless(value):
            namespace[name] = Function(name, value)
    for name in names:
        if name not in namespace and name not in _NATIVE and not name.startswith("__"):
            namespace[name] = Function(name)
    return namespace


_NATIVE = frozenset(vars(builtins))


def judge(prompt, test):
    """The outcome of one test: the fields of the contract's record, in order."""
    global _spoilt
    _spoilt = None
    _fresh()
    error = None
    try:
        prompt_code, test_code, refused, names = _compiled(prompt, test)
        if refused is not None:
            return refused[0], "", refused[1], 0, b"", b""
        namespace = _prepared(prompt_code, names)
        exec(test_code, namespace)
    except BaseException as raised:  # noqa: BLE001
        error = raised
    kind, name, detail, code, text = _ended(error)
    if text:
        streams.complain(text)
    stdout, stderr, full = streams.close()
    if full and kind == "finished":
        kind, detail = "out-of-output", f"more than {streams.LIMIT} bytes of output"
    return kind, name, detail, code, stdout, stderr


def forget():
    """Forgets the last prompt and test, and undoes what judging leaves."""
    global _last, _spoilt
    _last, _spoilt = (None, None), None
    unittest.main = _TestProgram


def _ended(error):
    if isinstance(_spoilt, CannotJudge):
        # Whoever would run the test in the candidate's own instance then has to know who asked for it.
        return "cannot-judge", _spoilt.kind, str(_spoilt), 0, ""
    if _spoilt is not None:
        return "exception", _spoilt.kind, f"the candidate ended: {_spoilt.message}", 0, ""
    if type(error) is TypeError and str(error).startswith("catching classes that do not inherit"):
        return "cannot-judge", "", "the test catches an exception of the candidate's", 0, ""
    return ended(error)


def _fresh():
    """What an earlier test can have changed by honest means."""
    streams.restart()
    clock.reset()
    random.seed(0)
    unittest.main = _main
    sys.setrecursionlimit(_default_recursion)
    sys.argv = [TEST]


def _main(*arguments, **named):
    """`unittest.main` that comes back: a test that passed ends where its source does."""
    named["exit"] = False
    named.setdefault("argv", [TEST])
    ran = _TestProgram(*arguments, **named)
    if not ran.result.wasSuccessful():
        failed = len(ran.result.failures) + len(ran.result.errors)
        raise AssertionError(f"{failed} of {ran.result.testsRun} tests failed")
    return ran


_TestProgram = unittest.TestProgram
