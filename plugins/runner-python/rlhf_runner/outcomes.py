"""How programs end, in the words of the contract, and tracebacks of their own frames.

A traceback looks as `python3` shows it, but for the marks below a line, which would cost more than
most programs: to place them, the line is parsed again.
"""

import traceback

from rlhf_runner.streams import OutOfOutput
from rlhf_runner.values import clean, message_of, name_of

__builtins__ = dict(__builtins__)

# Characters of a detail. Chosen: a page; the end is kept, where the exception stands.
DETAIL_MAX = 4096
# Lines that a frame is shown with again, as in the interpreter's own tracebacks.
_REPEATED = 3
# Frames that are looked at: those nearest to the program's start. The rest would be cut off.
_FRAMES_MAX = 200
# Exceptions that led to one another.
_CHAIN_MAX = 8

_HERE = __file__.rpartition("/")[0] + "/"

# Sources that tracebacks quote, by the name they were compiled with.
sources = {}

_format_only = traceback.format_exception_only
_SyntaxError, _SystemExit, _MemoryError = SyntaxError, SystemExit, MemoryError
_group = BaseExceptionGroup


class ProcessExit(BaseException):
    """What `os._exit` raises here: there is no process that could end."""

    def __init__(self, code):
        self.code = code


def qualified(kind):
    """A class's name as the last line of a traceback has it."""
    module = kind.__dict__.get("__module__")
    name = name_of(kind)
    return name if type(module) is not str or module in ("builtins", "__main__") else clean(f"{module}.{name}")


def _line(filename, number):
    source = sources.get(filename)
    if source is None or number is None:
        return ""
    lines = source.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def _frames(error):
    """The lines of its frames, without the runner's; a frame that stands there many times in a row stands for all."""
    runs, tb = [], error.__traceback__
    while tb is not None and len(runs) < _FRAMES_MAX:
        code = tb.tb_frame.f_code
        if not code.co_filename.startswith(_HERE):
            frame = (code.co_filename, tb.tb_lineno, code.co_name)
            if runs and runs[-1][0] == frame:
                runs[-1][1] += 1
            else:
                runs.append([frame, 1])
        tb = tb.tb_next
    lines = []
    for (filename, number, name), times in runs:
        text = _line(filename, number)
        frame = f'  File "{filename}", line {number}, in {name}\n' + (f"    {text}\n" if text else "")
        lines += [frame] * min(times, _REPEATED)
        if times > _REPEATED:
            more = times - _REPEATED
            lines.append(f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n")
    return lines


def _last_lines(error):
    kind = type(error)
    if isinstance(error, _SyntaxError):
        return _format_only(error)
    message = message_of(error)
    lines = [f"{qualified(kind)}: {message}\n" if message else f"{qualified(kind)}\n"]
    notes = getattr(error, "__notes__", None)
    if type(notes) is list:
        lines += [f"{note}\n" for note in notes if type(note) is str]
    return lines


def _rendered(error):
    texts, seen = [], set()
    while True:
        seen.add(id(error))
        lines = _frames(error)
        if lines:
            lines.insert(0, "Traceback (most recent call last):\n")
        lines += _last_lines(error)
        if isinstance(error, _group):
            lines += [f"  {line}" for inner in error.exceptions[:_CHAIN_MAX] for line in _last_lines(inner)]
        texts.append("".join(lines))
        if error.__cause__ is not None:
            error = error.__cause__
            link = "\nThe above exception was the direct cause of the following exception:\n\n"
        elif error.__context__ is not None and not error.__suppress_context__:
            error = error.__context__
            link = "\nDuring handling of the above exception, another exception occurred:\n\n"
        else:
            break
        if id(error) in seen or len(seen) >= _CHAIN_MAX:
            break
        texts.append(link)
    return "".join(reversed(texts))


def rendered(error):
    """The traceback of an exception, at most [`DETAIL_MAX`] characters of it."""
    try:
        text = _rendered(error)
    except BaseException:  # noqa: BLE001
        # A program's own exceptions can fail in every one of their methods.
        text = name_of(type(error))
    return shortened(clean(text.rstrip("\n")))


def shortened(text):
    if len(text) <= DETAIL_MAX:
        return text
    head = DETAIL_MAX // 4
    return f"{text[:head]}\n[…]\n{text[head - DETAIL_MAX + 5 :]}"


def exit_code(code):
    """The status of a process that calls `exit` with this, and what it writes to standard error."""
    if code is None:
        return 0, ""
    if isinstance(code, int):
        # As C does with a long that it makes an int of.
        code = int.__index__(code)
        if not -(1 << 63) <= code < 1 << 63:
            return -1, ""
        code &= 0xFFFF_FFFF
        return code - (1 << 32) if code >> 31 else code, ""
    return 1, message_of(code) + "\n"


def ended(error, with_traceback=True):
    """Kind, exception, detail, exit code, and text for standard error, of what ended a program."""
    if error is None:
        return "finished", "", "", 0, ""
    if isinstance(error, _SystemExit):
        code, text = exit_code(error.code)
        return "exit", "", "", code, text
    if isinstance(error, ProcessExit):
        return "exit", "", "", exit_code(error.code)[0], ""
    if isinstance(error, OutOfOutput):
        return "out-of-output", "", message_of(error), 0, ""
    detail = rendered(error) if with_traceback else message_of(error)
    if isinstance(error, _MemoryError):
        return "out-of-memory", name_of(type(error)), detail, 0, ""
    return "exception", name_of(type(error)), detail, 0, ""
