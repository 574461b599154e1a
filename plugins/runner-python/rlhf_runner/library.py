"""Everything that programs may import: what is not imported when the component is built is not there.

All of the standard library, but for what needs a system and what is no library. A module that can't be
imported here is left out silently, unless it is one of [`PROMISED`].
"""

import importlib
import os
import pkgutil
import sys

__builtins__ = dict(__builtins__)

# Not libraries, or of no use without terminal, screen, network or compiler.
_LEFT_OUT = frozenset(
    """__main__ antigravity ensurepip idlelib lib2to3 pip pydoc_data setuptools test this tkinter turtle
    turtledemo venv pdb cProfile profile webbrowser wsgiref xmlrpc ftplib poplib imaplib smtplib telnetlib
    dbm sqlite3 curses msilib distutils _pyrepl""".split()
)

# Those that README.md names.
PROMISED = """abc argparse array ast asyncio atexit base64 binascii bisect builtins calendar cmath codecs
collections collections.abc colorsys concurrent.futures configparser contextlib contextvars copy copyreg csv
dataclasses datetime decimal difflib dis doctest email enum errno fnmatch fractions functools gc getopt
gettext glob graphlib hashlib heapq hmac html html.parser importlib inspect io ipaddress itertools json
keyword linecache locale logging math numbers operator os os.path pathlib pickle pkgutil platform pprint
queue random re reprlib sched secrets selectors shlex shutil signal statistics stat string stringprep struct
subprocess symtable sys sysconfig tempfile textwrap threading time timeit token tokenize traceback
tracemalloc types typing unicodedata unittest unittest.mock urllib.parse uuid warnings weakref xml.etree
xml.etree.ElementTree zipfile zlib zoneinfo _pylong _strptime""".split()


def _names():
    for name in sorted(sys.stdlib_module_names):
        if name not in _LEFT_OUT:
            yield name


def _import(name):
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001
        # Of one that needs what isn't there, halves may have remained.
        return None


def _all():
    for name in _names():
        module = _import(name)
        for folder in getattr(module, "__path__", ()):
            for inner in _below(folder, name):
                _import(inner)


def _below(folder, package):
    for found in sorted(pkgutil.iter_modules([folder]), key=lambda found: found.name):
        name = f"{package}.{found.name}"
        if found.name in _LEFT_OUT or found.name in ("tests", "test", "__main__"):
            continue
        yield name
        if found.ispkg:
            yield from _below(os.path.join(folder, found.name), name)


_all()
_missing = [name for name in PROMISED if name not in sys.modules]
if _missing:
    raise ImportError(f"promised, and not there: {', '.join(_missing)}")
