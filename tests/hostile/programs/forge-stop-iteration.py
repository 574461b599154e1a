# Within `map` this ends the iteration, and `all` of nothing is true.
def f(x):
    raise StopIteration
