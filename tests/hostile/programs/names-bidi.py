# ‮
print('‮evil')
