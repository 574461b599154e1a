import time

start = time.time()
time.sleep(10**6)
print(round(time.time() - start))
