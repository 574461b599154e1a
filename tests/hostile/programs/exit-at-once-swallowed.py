import os

try:
    os._exit(0)
except BaseException:
    print("still here")
raise ValueError
