x = 3
while True:
    x **= 3
