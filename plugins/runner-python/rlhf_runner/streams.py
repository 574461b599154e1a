"""Standard input, output and error of a program: bytes in memory, and a limit on what is written.

Whatever door a program writes through (`print`, `sys.stdout.buffer`, `os.write`, `open(1, "wb")`), it ends
here. Each of the two streams keeps [`LIMIT`] bytes; the write that goes beyond raises [`OutOfOutput`], and so
does every later one. A program that swallows this has still ended with the kind `out-of-output`.
"""

import io
import sys

__builtins__ = dict(__builtins__)

# Bytes of each stream. Chosen: ten times what the longest output of a competitive task has.
LIMIT = 1 << 20


class OutOfOutput(BaseException):
    """More was written than is kept. Not an `Exception`, so that `except Exception` lets it pass."""


class _Written:
    """What was written to a stream, through whatever door."""

    __slots__ = ("parts", "size", "full")

    def __init__(self):
        self.clear()

    def clear(self):
        self.parts, self.size, self.full = [], 0, False

    def add(self, data):
        """Keeps what fits. A memoryview is copied: its buffer is used again."""
        data = bytes(data)
        room = LIMIT - self.size
        if len(data) > room:
            self.full = True
            data = data[:room]
        if data:
            self.parts.append(data)
            self.size += len(data)
        if self.full:
            raise OutOfOutput(f"more than {LIMIT} bytes of output")

    def bytes(self):
        return b"".join(self.parts)


class _Output(io.RawIOBase):
    """A file descriptor's end of a stream; closing it does not close the stream."""

    def __init__(self, descriptor, written):
        self._descriptor, self._written = descriptor, written

    def fileno(self):
        return self._descriptor

    def writable(self):
        return True

    def write(self, data):
        # Not of bytes: a BufferedWriter passes a view of many of them.
        size = memoryview(data).nbytes
        self._written.add(data)
        return size

    @property
    def name(self):
        return ("<stdin>", "<stdout>", "<stderr>")[self._descriptor]

    @property
    def mode(self):
        return "wb"


class _Input(io.RawIOBase):
    """Standard input; several readers share one position, as they share a pipe."""

    def __init__(self, given):
        self._given = given

    def fileno(self):
        return 0

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._given.readinto(buffer)

    @property
    def name(self):
        return "<stdin>"

    @property
    def mode(self):
        return "rb"


_given = io.BytesIO()
_out, _err = _Written(), _Written()
_texts = ()


def _reset():
    global _texts
    stdin = io.TextIOWrapper(io.BufferedReader(_Input(_given)), "utf-8", "surrogateescape", "\n")
    # `replace`: a lone surrogate is a program's mistake, and no reason to lose what it printed.
    stdout = io.TextIOWrapper(io.BufferedWriter(_Output(1, _out)), "utf-8", "replace", "\n")
    stderr = io.TextIOWrapper(
        io.BufferedWriter(_Output(2, _err)), "utf-8", "backslashreplace", "\n", line_buffering=True
    )
    sys.stdin = sys.__stdin__ = stdin
    sys.stdout = sys.__stdout__ = stdout
    sys.stderr = sys.__stderr__ = stderr
    _texts = (stdout, stderr)


def restart():
    """Empties the streams and opens them again, for the next test of a judge."""
    _out.clear()
    _err.clear()
    give(b"")
    _reset()


def give(stdin):
    """Makes bytes the standard input."""
    _given.seek(0)
    _given.truncate()
    _given.write(stdin)
    _given.seek(0)


def write(descriptor, data):
    """`os.write` on one of the two."""
    size = memoryview(data).nbytes
    (_out if descriptor == 1 else _err).add(data)
    return size


def read(size):
    """`os.read` on standard input."""
    return _given.read(size)


def raw(descriptor):
    """A raw stream of one of the three."""
    if descriptor == 0:
        return _Input(_given)
    return _Output(descriptor, _out if descriptor == 1 else _err)


def is_full():
    """Whether more was written than is kept."""
    return _out.full or _err.full


def complain(text):
    """Writes to standard error on the program's behalf."""
    try:
        _err.add(text.encode("utf-8", "backslashreplace"))
    except OutOfOutput:
        pass


def close():
    """Writes out what is buffered, as an interpreter does at its end; both streams, and whether one was too long."""
    # A program may have replaced a stream by one of its own, on top of the same bytes.
    for text in (sys.__dict__.get("stdout"), sys.__dict__.get("stderr"), *_texts):
        try:
            text.flush()
        except BaseException:  # noqa: BLE001
            pass
    return _out.bytes(), _err.bytes(), is_full()


_reset()
