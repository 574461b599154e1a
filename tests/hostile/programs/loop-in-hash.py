class Endless:
    def __hash__(self):
        while True:
            pass


{Endless()}
