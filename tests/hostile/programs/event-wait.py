import threading

print(threading.Event().wait(timeout=3600))
