import time

end = time.time() + 0.01
while time.time() < end:
    pass
print('waited')
