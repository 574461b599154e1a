import marshal

marshal.loads(b"c" + bytes(range(256)) * 4)
