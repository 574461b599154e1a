print('\x1b[2J\x1b[31mred\r\x08')
raise ValueError('\x1b[2J')
