"""The system as programs see it: none. And what remains of `os`, `io`, `asyncio` without one.

Imported before everything else, so that no module takes hold of what is replaced here.
"""

import _io
import gc
import io
import os
import posix
import random
import sys

from rlhf_runner import clock, streams

__builtins__ = dict(__builtins__)

_open, _FileIO, _os_write, _os_read, _os_isatty = io.open, io.FileIO, os.write, os.read, os.isatty
_STANDARD = (0, 1, 2)


def _open_standard(descriptor, mode, buffering, encoding, errors, newline):
    raw = streams.raw(descriptor)
    if "b" in mode and buffering == 0:
        return raw
    buffered = io.BufferedReader(raw) if descriptor == 0 else io.BufferedWriter(raw)
    if "b" in mode:
        return buffered
    return io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline, line_buffering=buffering == 1)


def open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    """Opens a file. The standard descriptors are there; there are no files."""
    if type(file) is int and file in _STANDARD:
        return _open_standard(file, mode, buffering, encoding, errors, newline)
    return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)


class FileIO(_FileIO):
    """A raw file."""

    def __new__(cls, file, mode="r", *more, **named):
        if type(file) is int and file in _STANDARD:
            return streams.raw(file)
        return super().__new__(cls, file, mode, *more, **named)


def write(descriptor, data, /):
    """Writes to a file descriptor."""
    if type(descriptor) is int and descriptor in (1, 2):
        return streams.write(descriptor, data)
    return _os_write(descriptor, data)


def read(descriptor, size, /):
    """Reads from a file descriptor."""
    if descriptor == 0 and type(descriptor) is int:
        return streams.read(size)
    return _os_read(descriptor, size)


def isatty(descriptor, /):
    """Whether a descriptor is a terminal's: none is."""
    return False if descriptor in _STANDARD else _os_isatty(descriptor)


_entropy = random.Random(0)


def urandom(size, /):
    """The bytes of a generator that always starts in the same state."""
    return _entropy.randbytes(size)


for _module in (os, posix):
    for _function in (write, read, isatty, urandom):
        _function.__module__ = "posix"
        setattr(_module, _function.__name__, _function)
random._urandom = urandom
io.open = _io.open = open
io.FileIO = _io.FileIO = FileIO
__builtins__["open"] = open
sys.modules["builtins"].open = open
open.__module__ = FileIO.__module__ = "_io"


def seal():
    """Last before the snapshot: a state that doesn't depend on the build."""
    from rlhf_runner import program

    def _exit(status):
        """Ends the program."""
        raise process_exit(status)

    process_exit = program.process_exit
    os._exit = posix._exit = _exit
    os.environ.clear()
    sys.path[:] = []
    sys.path_importer_cache.clear()
    sys.modules["linecache"].cache.clear()
    random.seed(0)
    _entropy.seed(0)
    streams.restart()
    clock.reset()
    program.prepare()
    # What is there now stays: it is not looked at again, which would touch its pages.
    gc.collect()
    gc.freeze()
    # The collector starts when this many objects are more than before, with a program's own objects only.
    gc.set_threshold(10_000, 20, 20)
    fill()


def fill():
    """Takes every free piece of the heap, for good, so that programs get memory from its end.

    Importing leaves thousands of holes. What a program allocates would lie in them, each on another page,
    and every page that is written to has to be copied first: that was more than half of a program's time.
    """
    for size in _sizes():
        top = _top()
        while True:
            # A bytes object has 17 bytes beside its own. Nothing is smaller than an `object`.
            piece = bytes(size - 17) if size > 17 else object()
            if id(piece) >= top:
                break
            _filling.append(piece)
        del piece


def _sizes():
    """Sizes of the pieces, the largest first; the small ones one by one, as the allocator has them."""
    size = 1 << 20
    while size > 1024:
        yield size
        size -= max(64, size // 8)
    yield from range(1024, 8, -8)


_filling = []


def _top():
    """An address that holes lie below: larger than all of them, a piece comes from the heap's end."""
    return id(bytes(4 << 20))
