with open(1, "w") as stream:
    for _ in range(10**6):
        stream.write("w" * 100)
