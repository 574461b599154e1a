import builtins, sys

write = sys.stdout.write
vars(builtins).clear()
write("gone\n")
