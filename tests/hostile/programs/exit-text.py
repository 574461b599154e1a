import sys

sys.exit('gone')
