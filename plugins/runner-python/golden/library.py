"""A little of everything in the library that programs use."""
import base64
import bisect
import calendar
import copy
import csv
import datetime
import difflib
import hashlib
import heapq
import html
import io
import itertools
import json
import operator
import pprint
import re
import string
import struct
import textwrap
import unicodedata
import urllib.parse
import uuid
import zlib
from array import array
from collections import OrderedDict, defaultdict, deque, namedtuple
from functools import partial, reduce

print(json.dumps({"b": [1, 2.5, None, True], "a": "é\n"}, sort_keys=True), json.loads('{"x": [1e3, "\\u00e9"]}'))
print(re.findall(r"(\w+)@(\w+)\.com", "a@b.com, c@d.com"), re.sub(r"(?P<x>\d+)", lambda m: str(int(m["x"]) * 2), "a1b22"))
print(list(itertools.islice(itertools.accumulate(itertools.count(1), operator.mul), 8)), reduce(operator.xor, range(10)))
heap = [5, 1, 4]
heapq.heapify(heap)
print(heapq.heappop(heap), heapq.nlargest(2, heap), bisect.bisect([1, 3, 5], 3))
print(datetime.date(2024, 2, 29) + datetime.timedelta(days=366), calendar.monthrange(2023, 2)[1], calendar.isleap(1900))
print(datetime.datetime.strptime("2024-03-01 12:30", "%Y-%m-%d %H:%M").strftime("%d/%m/%y %A"))
print(hashlib.sha256(b"x").hexdigest()[:16], hashlib.md5(b"x").hexdigest()[:16], zlib.crc32(b"x"), base64.b64encode(b"\x00\xff"))
print(struct.pack("<hI", -2, 7), array("i", [1, 2]).tolist(), zlib.decompress(zlib.compress(b"x" * 99))[:3])
print(textwrap.fill("the quick brown fox", 10), string.ascii_lowercase[:3], string.Template("$a!").substitute(a=1))
print(unicodedata.name("é"), unicodedata.normalize("NFD", "é").encode(), "ǅ".lower(), "ß".upper(), "İ".casefold())
print(urllib.parse.urlparse("http://a.b/c?d=e#f").query, urllib.parse.quote("a b/é"), html.escape("<&>"), uuid.UUID(int=5))
print(list(csv.reader(io.StringIO('a,"b,c"\r\n1,2\r\n'))), difflib.get_close_matches("appel", ["ape", "apple", "peach"]))
Pair = namedtuple("Pair", "a b")
counts = defaultdict(list)
counts["x"].append(Pair(1, b=2))
print(dict(counts), list(OrderedDict(a=1)), deque([1, 2, 3], maxlen=2), copy.deepcopy({"a": [1]}), partial(int, base=2)("101"))
pprint.pprint({"k" * 30: list(range(15)), "z" * 30: "v" * 20})
