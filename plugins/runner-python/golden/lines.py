"""Reads line by line, in three ways, and hits the end."""
import sys

first = input()
second = sys.stdin.readline()
rest = [line.rstrip("\n") for line in sys.stdin]
print([first, second, rest])
try:
    input("more? ")
except EOFError as error:
    print(type(error).__name__, error)
