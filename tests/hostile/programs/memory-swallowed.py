kept = []
try:
    while True:
        kept.append(bytearray(10**6))
except MemoryError:
    print(len(kept) > 100)
del kept
print("goes on")
