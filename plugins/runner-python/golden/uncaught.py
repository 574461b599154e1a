"""Ends by an exception; what was printed before stays."""


class Refused(ValueError):
    pass


def check(n):
    if n > 2:
        raise Refused(f"too many: {n}")
    check(n + 1)


print("start")
try:
    {}["missing"]
except KeyError:
    check(0)
