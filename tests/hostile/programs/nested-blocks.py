exec('\n'.join(' ' * n + 'if 1:' for n in range(200)) + '\n' + ' ' * 200 + 'pass')
