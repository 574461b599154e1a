"""Values as they cross: an arena of nodes that refer to each other by index, and a root.

Only exact types cross (`type(x) is int`): a subclass may compare as it likes, and what arrives on the other
side must not. Depth and number of parts are limited, which refuses cycles, too.
"""

import collections
import struct
import sys
import types

from wit_world.imports.values import (
    Node_Boolean,
    Node_Bytes,
    Node_Dict,
    Node_Exception,
    Node_Floating,
    Node_Frozenset,
    Node_Integer,
    Node_List,
    Node_None_,
    Node_Set,
    Node_Text,
    Node_Tuple,
    Value,
)

__builtins__ = dict(__builtins__)

# Levels of nesting; the host has the same limit.
DEPTH_MAX = 200
# Parts of one value, half of what the host takes: each costs a hundred bytes of the instance's memory.
PARTS_MAX = 1 << 20

# Integers up to here have at most 4300 digits, the most that CPython converts unless it is told otherwise.
_PLAIN_BITS = 14_000

_NONE = Node_None_()
_TRUE, _FALSE = Node_Boolean(True), Node_Boolean(False)
# Dictionaries of the library cross as plain ones. By exact type, too: reading them runs no code of the program's.
_MAPPINGS = frozenset([dict, collections.Counter, collections.OrderedDict, collections.defaultdict])
_items = dict.items
_SEQUENCES = {list: Node_List, tuple: Node_Tuple, set: Node_Set, frozenset: Node_Frozenset}

_type_name = type.__dict__["__name__"].__get__
_pack_float, _unpack_float = struct.Struct("<d").pack, struct.Struct("<d").unpack
_get_digits, _set_digits = sys.get_int_max_str_digits, sys.set_int_max_str_digits


class NotAValue(Exception):
    """Something that can't cross by value; the message says what it is."""


def clean(text):
    """Text that can cross: lone surrogates have no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def message_of(error):
    """An exception's message; its `__str__` is the program's and may do anything."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001
        return "<exception str() failed>"
    return clean(text if type(text) is str else str.__str__(text))


def name_of(kind):
    """A class's name, whatever its metaclass says."""
    return clean(_type_name(kind))


def _any_digits(convert, number):
    limit = _get_digits()
    _set_digits(0)
    try:
        return convert(number)
    finally:
        _set_digits(limit)


def pack(value):
    """A value as an arena.

    Raises NotAValue for what can't cross.
    """
    nodes = []
    try:
        _push(nodes, value, 0)
    except RecursionError:
        raise NotAValue("nested too deeply") from None
    return Value(nodes, len(nodes) - 1)


def _push(nodes, value, depth):
    kind = type(value)
    if value is None:
        node = _NONE
    elif kind is int:
        if -(1 << 60) < value < 1 << 60 or value.bit_length() <= _PLAIN_BITS:
            node = Node_Integer(str(value))
        else:
            node = Node_Integer(_any_digits(str, value))
    elif kind is str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise NotAValue("text with a lone surrogate") from None
        node = Node_Text(value)
    elif kind is bool:
        node = _TRUE if value else _FALSE
    elif kind is float:
        node = Node_Floating(int.from_bytes(_pack_float(value), "little"))
    elif kind in _SEQUENCES or kind in _MAPPINGS:
        if depth >= DEPTH_MAX:
            raise NotAValue(f"nested deeper than {DEPTH_MAX}, or within itself")
        if len(nodes) + len(value) > PARTS_MAX:
            raise NotAValue(f"of more than {PARTS_MAX} parts")
        if kind in _MAPPINGS:
            items = []
            for key, item in _items(value):
                key = _push(nodes, key, depth + 1)
                items.append((key, _push(nodes, item, depth + 1)))
            node = Node_Dict(items)
        else:
            node = _SEQUENCES[kind]([_push(nodes, item, depth + 1) for item in value])
    elif kind is bytes:
        node = Node_Bytes(value)
    elif issubclass(kind, BaseException):
        node = Node_Exception((name_of(kind), message_of(value)))
    else:
        raise NotAValue(f"of the type `{name_of(kind)}`")
    nodes.append(node)
    return len(nodes) - 1


def unpack(value):
    """The value of an arena whose references point backwards, as the host has checked."""
    made = []
    for node in value.nodes:
        kind = type(node)
        if kind is Node_Integer:
            text = node.value
            item = int(text) if len(text) < 4000 else _any_digits(int, text)
        elif kind is Node_Text or kind is Node_Boolean or kind is Node_Bytes:
            item = node.value
        elif kind is Node_Floating:
            (item,) = _unpack_float(node.value.to_bytes(8, "little"))
        elif kind is Node_None_:
            item = None
        elif kind is Node_List:
            item = [made[index] for index in node.value]
        elif kind is Node_Tuple:
            item = tuple([made[index] for index in node.value])
        elif kind is Node_Dict:
            item = {made[key]: made[item] for key, item in node.value}
        elif kind is Node_Set:
            item = {made[index] for index in node.value}
        elif kind is Node_Frozenset:
            item = frozenset([made[index] for index in node.value])
        else:
            item = exception(*node.value)
        made.append(item)
    return made[value.root]


_BUILTIN = {
    name: kind
    for name, kind in __builtins__.items()
    # Raised within a generator or `map`, these two would end an iteration, and `all` of nothing is true.
    if isinstance(kind, type) and issubclass(kind, Exception) and name not in ("StopIteration", "StopAsyncIteration")
}
# An exception group is made of exceptions, which its message doesn't hold.
del _BUILTIN["ExceptionGroup"]


def exception(name, message):
    """An exception by name and message: of the builtin class of that name, or of a new class with it.

    Its `str` is the message, whatever the class makes of its arguments.
    """
    kind = _BUILTIN.get(name)
    text = _fixed(message)
    if kind is None:
        return _new_class(name or "Exception", (Exception,), {"__str__": text, "__module__": "candidate"})(message)
    if kind in _PLAIN:
        return kind(message)
    return _new_class(name, (kind,), {"__init__": _no_init, "__str__": text, "__module__": "builtins"})(message)


_new_class = type
# Those whose `str` is that of their only argument. `KeyError` shows its repr, others want five arguments.
_PLAIN = frozenset(
    kind
    for kind in _BUILTIN.values()
    if not issubclass(kind, (KeyError, UnicodeError, SyntaxError, ImportError, OSError)) or kind is UnicodeError
)


def _no_init(self, *arguments):
    pass


def _fixed(message):
    return lambda self: message


def is_plain_function(value):
    """Whether it is a function written in Python."""
    return type(value) is types.FunctionType
