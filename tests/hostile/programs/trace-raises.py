import sys


def trace(frame, event, argument):
    raise KeyboardInterrupt


sys.settrace(trace)
sys.setprofile(trace)


def f():
    pass


f()
