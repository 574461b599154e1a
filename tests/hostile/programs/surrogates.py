print('\ud800', '\udfff')
raise ValueError('\ud800')
