"""The format: plain Python, without generated types, so that tests run without WebAssembly.

A line is a demonstration: prompt, tab, response, in UTF-8. Lines without text are left out. The
file is read in pieces, so that one larger than memory is no trouble.
"""

import json
from dataclasses import dataclass
from typing import Callable, Iterator

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "demonstrations from tab-separated lines: prompt, response"
EXTENSIONS = ["tsv"]

# Bytes asked for at once: calls of the host don't count, and memory isn't filled. Chosen.
READ_BYTES = 256 * 1024
# A longer line is taken for a file of another format. Chosen.
LINE_BYTES_MAX = 16 * 1024 * 1024
# A batch ends early at this size: the host limits results, and rows may be large. Chosen.
BATCH_CHARACTERS = 1024 * 1024


class PluginError(Exception):
    """A failure the host reports: `code` is stable and for programs, `message` for people."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Demonstration:
    """A prompt and a response to imitate; `line` and `row` count from 1."""

    line: int
    row: int
    prompt: str
    response: str


@dataclass
class RowError:
    """A row that can't be read; reading goes on behind it."""

    line: int
    row: int
    field: str
    message: str


def check_options(text: str) -> None:
    """This format has no options, and a misspelt key must not pass in silence."""
    try:
        given = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise PluginError("bad-option", f"options: expected one JSON object: {error}") from None
    if not isinstance(given, dict):
        raise PluginError("bad-option", f"options: expected one JSON object, found {json.dumps(given)}")
    for key in given:
        raise PluginError("bad-option", f"option `{key}`: unknown; this plugin has no options")


class Reader:
    """An open file. `read(max)` gives up to `max` further bytes, and none at the end."""

    def __init__(self, read: Callable[[int], bytes]):
        self._rows = _rows(_lines(read))
        self._failure: PluginError | None = None

    def batch(self, rows_max: int) -> list[Demonstration | RowError]:
        """Up to `rows_max` further rows, and none at the end. A failure waits for the rows before it."""
        rows: list[Demonstration | RowError] = []
        size = 0
        while self._failure is None and len(rows) < rows_max and size < BATCH_CHARACTERS:
            try:
                row = next(self._rows)
            except StopIteration:
                return rows
            except PluginError as error:
                self._failure = error
                break
            rows.append(row)
            size += len(row.prompt) + len(row.response) if isinstance(row, Demonstration) else len(row.message)
        if not rows and self._failure is not None:
            raise self._failure
        return rows


def _lines(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Lines without their ends; the last one needs none."""
    rest, line = b"", 1
    while piece := read(READ_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        line += len(lines)
        if len(rest) > LINE_BYTES_MAX:
            raise PluginError("bad-row", f"line {line}: expected at most {LINE_BYTES_MAX} bytes, found more")
    if rest:
        yield rest


def _rows(lines: Iterator[bytes]) -> Iterator[Demonstration | RowError]:
    row = 0
    for number, line in enumerate(lines, start=1):
        if number == 1:
            # Some editors begin a file with a byte order mark.
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.removesuffix(b"\r")
        if line.strip():
            row += 1
            yield _row(number, row, line)


def _row(number: int, row: int, line: bytes) -> Demonstration | RowError:
    try:
        fields = line.decode().split("\t")
    except UnicodeDecodeError as error:
        return RowError(number, row, "", f"expected UTF-8, found the byte 0x{line[error.start]:02x}")
    if len(fields) != 2:
        return RowError(number, row, "", f"expected prompt, tab, response; found {len(fields) - 1} tabs")
    for field, text in zip(("prompt", "response"), fields):
        if not text.strip():
            return RowError(number, row, field, "expected text, found nothing")
    return Demonstration(number, row, *fields)
