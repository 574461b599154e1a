"""The language: plain Python, without generated types, so that tests run without WebAssembly.

A calculator in reverse Polish notation. Words stand between blanks and work on a stack of integers
of any size; `.` prints the top, `in` reads a number, and `: square dup * ;` defines a word.
"""

import re
import sys
from dataclasses import dataclass
from typing import Callable

from options import PluginError

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "runs calculations in reverse Polish notation"
LANGUAGES = [("rpn", "1")]

# Words within words. A word can call itself, and nothing ends that. Chosen.
DEPTH_MAX = 100
# Few words can print without end: each may call another twice. Chosen.
OUTPUT_BYTES_MAX = 1024 * 1024

# Python refuses to print long integers by default; here fuel is the limit.
sys.set_int_max_str_digits(0)

# What a word takes from the stack, the top last, and what it puts there. `/` rounds down.
OPERATIONS: dict[str, tuple[int, Callable[..., list[int]]]] = {
    "+": (2, lambda a, b: [a + b]),
    "-": (2, lambda a, b: [a - b]),
    "*": (2, lambda a, b: [a * b]),
    "/": (2, lambda a, b: [a // b]),
    "mod": (2, lambda a, b: [a % b]),
    "dup": (1, lambda a: [a, a]),
    "drop": (1, lambda a: []),
    "swap": (2, lambda a, b: [b, a]),
    "over": (2, lambda a, b: [a, b, a]),
}
RESERVED = {*OPERATIONS, ".", "in", ":", ";"}

# A word of a program and the line it stands on.
Token = tuple[int, str]


class ProgramError(Exception):
    """What ended a program: `kind` as in `wit/types.wit`, and the exception's name if it is one."""

    def __init__(self, name: str, detail: str, kind: str = "exception"):
        super().__init__(detail)
        self.kind, self.name, self.detail = kind, name, detail


@dataclass
class Outcome:
    """How a program ended, and what it printed until then."""

    kind: str
    exception: str
    detail: str
    stdout: bytes


def is_number(word: str) -> bool:
    """Whether a word is an integer in decimal."""
    return re.fullmatch(r"[+-]?[0-9]+", word) is not None


def check_language(language: str) -> None:
    """Refuses the languages that aren't this one."""
    if language != "rpn":
        raise PluginError("unsupported-language", f"language: expected `rpn`, found {language or 'none'}")


class Program:
    """A parsed program: its own words in order, and those it defines."""

    def __init__(self, source: str):
        self.main: list[Token] = []
        self.words: dict[str, list[Token]] = {}
        self.executed = False
        tokens = ((line, word) for line, text in enumerate(source.split("\n"), start=1) for word in text.split())
        for line, word in tokens:
            if word == ":":
                self._define(line, tokens)
            elif word == ";":
                raise PluginError("syntax-error", f"line {line}: `;` without `:`")
            else:
                self.main.append((line, word))

    def _define(self, line: int, tokens) -> None:
        _, name = next(tokens, (line, ";"))
        if name in RESERVED or is_number(name) or name in self.words:
            raise PluginError("syntax-error", f"line {line}: expected a new name behind `:`, found `{name}`")
        body: list[Token] = []
        for at, word in tokens:
            if word == ";":
                self.words[name] = body
                return
            if word == ":":
                raise PluginError("syntax-error", f"line {at}: expected `;` at the end of `{name}`, found `:`")
            body.append((at, word))
        raise PluginError("syntax-error", f"line {line}: expected `;` at the end of `{name}`, found none")

    def run(self, stdin: bytes) -> Outcome:
        """Runs the program to its end."""
        self.executed = True
        machine = Machine(self.words, stdin)
        return machine.outcome(lambda: machine.execute(self.main))

    def call(self, function: str, arguments: list[int]) -> int | Outcome:
        """Calls a word, and gives the top of the stack. The program runs first, if it didn't yet."""
        if not self.executed:
            outcome = self.run(b"")
            if outcome.kind != "finished":
                return outcome
        machine = Machine(self.words, b"")
        machine.stack = list(arguments)
        outcome = machine.outcome(lambda: machine.call(function))
        return machine.stack[-1] if outcome.kind == "finished" else outcome


class Machine:
    """One execution: a stack, numbers to read, and what was printed."""

    def __init__(self, words: dict[str, list[Token]], stdin: bytes):
        self.words = words
        self.stack: list[int] = []
        self.stdout = bytearray()
        self.input = iter(stdin.decode("utf-8", "replace").split())

    def outcome(self, call: Callable[[], None]) -> Outcome:
        try:
            call()
        except ProgramError as error:
            return Outcome(error.kind, error.name, error.detail, bytes(self.stdout))
        return Outcome("finished", "", "", bytes(self.stdout))

    def call(self, function: str) -> None:
        if function not in self.words:
            raise ProgramError("UnknownWord", f"`{function}`: not defined")
        self.execute(self.words[function])
        if not self.stack:
            raise ProgramError("StackUnderflow", f"`{function}`: expected a result on the stack, found none")

    def execute(self, tokens: list[Token], depth: int = 0) -> None:
        for line, word in tokens:
            if word in self.words:
                if depth == DEPTH_MAX:
                    raise ProgramError("RecursionTooDeep", f"line {line}: `{word}`: more than {DEPTH_MAX} words deep")
                self.execute(self.words[word], depth + 1)
            elif word in OPERATIONS:
                arity, operation = OPERATIONS[word]
                taken = self._take(arity, line, word)
                if word in ("/", "mod") and taken[1] == 0:
                    raise ProgramError("DivisionByZero", f"line {line}: `{word}`: expected a divisor, found 0")
                self.stack += operation(*taken)
            elif word == ".":
                self.stdout += b"%d\n" % self._take(1, line, word)[0]
                if len(self.stdout) > OUTPUT_BYTES_MAX:
                    del self.stdout[OUTPUT_BYTES_MAX:]
                    raise ProgramError("", f"line {line}: more than {OUTPUT_BYTES_MAX} bytes", "out-of-output")
            elif word == "in":
                self.stack.append(self._read(line))
            elif is_number(word):
                self.stack.append(int(word))
            else:
                raise ProgramError("UnknownWord", f"line {line}: `{word}`: not defined")

    def _take(self, count: int, line: int, word: str) -> list[int]:
        found = len(self.stack)
        if found < count:
            raise ProgramError("StackUnderflow", f"line {line}: `{word}`: expected {count} on the stack, found {found}")
        taken = self.stack[found - count :]
        del self.stack[found - count :]
        return taken

    def _read(self, line: int) -> int:
        word = next(self.input, None)
        if word is None:
            raise ProgramError("EndOfInput", f"line {line}: `in`: expected a number, found the end of the input")
        if not is_number(word):
            raise ProgramError("BadInput", f"line {line}: `in`: expected a number, found `{word}`")
        return int(word)
