# The compiler, not the program.
for n in range(10**9):
    compile("x = [" + "1, " * 20000 + "]", "x", "exec")
