def f(x):
    y = {}
    y[1] = y
    return y
