"""The program of this instance: compiled, run to its end, or called."""

import atexit
import linecache
import sys
import types

from rlhf_runner import streams
from rlhf_runner.outcomes import ProcessExit, ended, rendered, sources
from rlhf_runner.values import NotAValue, clean

__builtins__ = dict(__builtins__)

# What tracebacks call a program.
FILENAME = "program.py"
# The name of a program whose functions are called: it is imported, not run.
MODULE = "program"

_exec, _compile = exec, compile
_SyntaxError, _MemoryError = SyntaxError, MemoryError
_run_exit_functions = atexit._run_exitfuncs
_modules = sys.modules
_hook = sys.excepthook
_settrace, _setprofile = sys.settrace, sys.setprofile
_cached_lines = linecache.cache

_code = None
_module = None
# Of a program that was executed: what ended it, None if nothing did.
_executed, _failure = False, None
# The first `os._exit`; a program that swallows it has ended all the same.
_process_exit = None


def prepare():
    """Makes what every program needs, before the snapshot is taken, and forgets what was loaded."""
    global _module, _code, _executed, _failure, _process_exit
    _code, _executed, _failure, _process_exit = None, False, None, None
    sources.clear()
    _cached_lines.clear()
    _modules.pop(MODULE, None)
    _module = types.ModuleType("__main__")
    _module.__builtins__ = sys.modules["builtins"]
    _module.__file__ = FILENAME
    _modules["__main__"] = _module


def process_exit(status):
    """What `os._exit` raises."""
    global _process_exit
    ending = ProcessExit(status)
    if _process_exit is None:
        _process_exit = ending
    return ending


def compiled(source, filename):
    """The code of a source, or None and what is wrong with it: a code and a message."""
    sources[filename] = source
    try:
        # As bytes, for `python3` reads a file: a byte order mark and a coding line mean something.
        return _compile(source.encode(), filename, "exec", 0, True), None
    except _MemoryError as error:
        return None, ("out-of-memory", rendered(error))
    except BaseException as error:  # noqa: BLE001
        # SyntaxError; ValueError and RecursionError of what the compiler can't take.
        return None, ("syntax-error", rendered(error))


def check(source):
    """None, or code and message of what keeps a source from being compiled."""
    return compiled(source, FILENAME)[1]


def load(source):
    """As `check`; the program is kept."""
    global _code
    # Here, since whoever starts the snapshot empties it.
    sys.argv = [FILENAME]
    _code, refused = compiled(source, FILENAME)
    # For what a program reads of itself: `inspect.getsource`. Of one element: read when it is needed.
    _cached_lines[FILENAME] = (lambda: source,)
    return refused


def _execute(name):
    """Executes the program once; what ended it, or None."""
    global _executed, _failure
    if _executed:
        return _failure
    _executed = True
    if name != "__main__":
        _module.__name__ = name
        _modules[name] = _module
    try:
        _exec(_code, _module.__dict__)
    except BaseException as error:  # noqa: BLE001
        _failure = error
    _untrace()
    return _failure


def _untrace():
    """Ends what a program has set to look at every call: from here on they are the runner's."""
    _settrace(None)
    _setprofile(None)


def _at_end(error):
    """What the interpreter does behind a program: its hook for what it didn't catch, then its exit functions."""
    hook = sys.__dict__.get("excepthook")
    if hook is not _hook and error is not None and isinstance(error, Exception):
        try:
            hook(type(error), error, error.__traceback__)
        except BaseException:  # noqa: BLE001
            pass
    try:
        _run_exit_functions()
    except BaseException:  # noqa: BLE001
        pass


def run(stdin):
    """The outcome of the program, run to its end: the fields of the contract's record, in order."""
    if _code is None:
        return "exception", "NotLoaded", "`run` was called before `load`", 0, b"", b""
    streams.give(stdin)
    error = _execute("__main__")
    if _process_exit is None:
        _at_end(error)
    return _outcome(_process_exit or error)


def _outcome(error, with_traceback=True):
    kind, exception, detail, code, text = ended(error, with_traceback)
    if text:
        streams.complain(text)
    stdout, stderr, full = streams.close()
    if full and kind != "out-of-output":
        kind, exception, detail, code = "out-of-output", "", f"more than {streams.LIMIT} bytes of output", 0
    return kind, exception, detail, code, stdout, stderr


def call(function, arguments, pack):
    """Whether the function returned, and its result as `pack` makes it; otherwise the outcome."""
    if _code is None:
        return False, ("exception", "NotLoaded", "`call` was called before `load`", 0, b"", b"")
    error = _execute(MODULE)
    if error is None:
        try:
            try:
                result = _lookup(function)(*arguments)
            finally:
                _untrace()
            if not streams.is_full() and _process_exit is None:
                return True, pack(result)
        except NotAValue as unfit:
            stdout, stderr, _ = streams.close()
            return False, ("not-a-value", "", f"`{clean(function)}` returned something {unfit}", 0, stdout, stderr)
        except BaseException as raised:  # noqa: BLE001
            error = raised
    return False, _outcome(_process_exit or error, with_traceback=False)


def _lookup(function):
    try:
        return _module.__dict__[function]
    except KeyError:
        raise NameError(f"name '{function}' is not defined") from None
