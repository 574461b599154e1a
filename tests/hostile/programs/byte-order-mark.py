print('read')
