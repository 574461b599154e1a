"""Dataclasses, enums, protocols, generators, context managers, matching."""
import abc
import contextlib
import dataclasses
import enum
import functools
import typing


class Colour(enum.Enum):
    RED = 1
    GREEN = enum.auto()


@dataclasses.dataclass(order=True, frozen=True)
class Point:
    x: int
    y: "int" = 0
    tags: tuple = dataclasses.field(default=(), compare=False)


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


@functools.lru_cache
def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@contextlib.contextmanager
def named(name: str) -> typing.Iterator[str]:
    print("enter", name)
    try:
        yield name.upper()
    finally:
        print("leave", name)


def kind(value):
    match value:
        case Point(x=0, y=0):
            return "origin"
        case {"k": [first, *rest]}:
            return f"{first} and {len(rest)}"
        case int() | float() as number if number > 9:
            return "big"
        case _:
            return "other"


print(Colour.GREEN, Colour(1).name, sorted([Point(2, 1), Point(1, 5)]), Point(1) == Point(1, 0, ("t",)))
print(fib(80), [kind(v) for v in (Point(0), {"k": [1, 2, 3]}, 10, "x")])
with named("a") as upper:
    print(upper)
try:
    Shape()
except TypeError as error:
    print("abstract" in str(error))
try:
    raise ExceptionGroup("several", [ValueError(1), KeyError("k")])
except* ValueError as group:
    print("values", len(group.exceptions))
except* KeyError:
    print("keys")
