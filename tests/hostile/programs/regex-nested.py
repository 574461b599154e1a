import re

re.search(r"(.*)*(.*)*(.*)*x", "y" * 200)
