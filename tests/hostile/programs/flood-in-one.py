print('x' * 2**21)
