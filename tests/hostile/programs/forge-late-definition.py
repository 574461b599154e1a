# Nothing of it outlives the instance.
import builtins


def f(x):
    builtins.f = lambda x: 4
    globals()["f"] = lambda x: 4
    return 5
