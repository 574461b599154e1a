import signal, os

signal.signal(signal.SIGINT, lambda *given: print('caught'))
signal.raise_signal(signal.SIGINT)
print('end')
