import builtins, sys

for name in ["len", "str", "int", "isinstance", "type", "print", "dict", "list", "bytes", "getattr", "issubclass"]:
    setattr(builtins, name, None)
sys.stdout.write("patched\n")
