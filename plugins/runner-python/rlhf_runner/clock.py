"""Time as programs see it: it starts at 0 and is virtual.

The host's clocks stand still, so that a program's outcome depends on the program alone. Here a sleep
moves time on by its length and returns at once, and every reading moves it by a microsecond: a program
that waits in a loop comes to an end, and one that divides by the time it took does not divide by zero.
"""

import time

__builtins__ = dict(__builtins__)

_now = 0  # nanoseconds
_READING = 1_000

_localtime, _gmtime, _ctime, _strftime = time.localtime, time.gmtime, time.ctime, time.strftime


def reset():
    global _now
    _now = 0


def advance(nanoseconds):
    """Moves time on; never back."""
    global _now
    _now += max(0, nanoseconds)


def _nanoseconds():
    global _now
    _now += _READING
    return _now


def _seconds():
    global _now
    _now += _READING
    return _now / 1_000_000_000


def _clock(name, read):
    def clock():
        return read()

    clock.__name__ = clock.__qualname__ = name
    clock.__module__ = "time"
    setattr(time, name, clock)


for _name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
    if hasattr(time, _name):
        _clock(_name, _seconds)
        _clock(_name + "_ns", _nanoseconds)


def sleep(seconds, /):
    """Moves time on, at once."""
    if not isinstance(seconds, (int, float)):
        seconds = seconds.__index__() if hasattr(seconds, "__index__") else seconds.__float__()
    if seconds != seconds:
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if seconds > 1 << 33:
        raise OverflowError("timestamp out of range for platform time_t")
    advance(int(seconds * 1_000_000_000))


def localtime(seconds=None, /):
    return _localtime(_seconds() if seconds is None else seconds)


def gmtime(seconds=None, /):
    return _gmtime(_seconds() if seconds is None else seconds)


def ctime(seconds=None, /):
    return _ctime(_seconds() if seconds is None else seconds)


def strftime(format, time_tuple=None, /):
    return _strftime(format, localtime() if time_tuple is None else time_tuple)


for _function in (sleep, localtime, gmtime, ctime, strftime):
    _function.__module__ = "time"
    setattr(time, _function.__name__, _function)
