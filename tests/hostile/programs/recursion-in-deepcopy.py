import copy

x = []
for _ in range(10**4):
    x = [x]
copy.deepcopy(x)
