import zlib

bomb = zlib.compress(bytes(10**7))
print(len(bomb) < 20000)
parts = []
while True:
    parts.append(zlib.decompress(bomb))
