class Never:
    def __lt__(self, other):
        return sorted([Never(), Never()]) and True


sorted([Never(), Never()])
