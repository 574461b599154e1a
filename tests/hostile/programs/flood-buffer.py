import sys

while True:
    sys.stdout.buffer.write(b'y' * 1000)
