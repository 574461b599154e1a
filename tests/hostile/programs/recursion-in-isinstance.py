t = ()
for _ in range(10**5):
    t = (t, int)
isinstance(1, t)
