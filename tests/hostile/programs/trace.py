import sys


def trace(frame, event, argument):
    while True:
        pass


sys.settrace(trace)


def f():
    pass


f()
