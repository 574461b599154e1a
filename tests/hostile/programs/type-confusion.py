class A:
    __slots__ = ("x",)


class B:
    __slots__ = ("x",)


a = A()
a.__class__ = B
print(type(a).__name__)
A.x.__set__(a, 1)
