def f(x):
    y = []
    for _ in range(64):
        y = [y, y]
    return y
