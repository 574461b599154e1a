import select

print(select.select([], [], [], 3600))
