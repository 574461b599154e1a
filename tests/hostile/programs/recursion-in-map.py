m = [1]
for _ in range(10**5):
    m = map(int, m)
list(m)
