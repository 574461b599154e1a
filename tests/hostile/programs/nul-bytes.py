print('a\x00b')
exec('x\x00y')
