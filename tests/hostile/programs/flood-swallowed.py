while True:
    try:
        print("x" * 10**6)
    except BaseException:
        pass
