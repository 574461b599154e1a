import sys

sys.excepthook = lambda *given: print('hooked')
raise ValueError
