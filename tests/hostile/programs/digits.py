# Quadratic, and refused by the interpreter itself above 4300 digits.
print(len(str(10**10000)))
