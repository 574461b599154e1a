import os

for path in ["/etc/passwd", "/", ".", "/proc/self/environ", "../Cargo.toml", "/dev/null"]:
    for do in [open, os.listdir, os.stat, os.mkdir, os.unlink, os.chdir]:
        try:
            print(path, do.__name__, do(path))
        except OSError:
            pass
print("nothing found")
