import os

print(dict(os.environ), os.getenv('HOME'), os.getenv('PATH'))
