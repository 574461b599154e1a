__builtins__ = {"__build_class__": None, "len": lambda x: 4}
globals()["__builtins__"] = {}


def f(x):
    return 5
