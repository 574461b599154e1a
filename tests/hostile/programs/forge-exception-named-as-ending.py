# A name of the host's for how a program ended.
def f(x):
    raise type("finished", (Exception,), {})
