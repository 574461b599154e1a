import dis

def f():
    pass


f.__code__ = f.__code__.replace(co_code=bytes([dis.opmap["POP_TOP"], 0] * 100000), co_stacksize=0)
f()
