def spin():
    try:
        return 1
    finally:
        while True:
            pass


spin()
