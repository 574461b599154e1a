x = [bytes(10**7) for _ in range(100)]
