def f(x):
    return f
