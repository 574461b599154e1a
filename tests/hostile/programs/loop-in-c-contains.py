from itertools import repeat

print(1 in repeat(0))
