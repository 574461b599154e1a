from itertools import product

product(range(10**6), repeat=10)
