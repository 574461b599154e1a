"""Integers without end, floats, decimals, fractions, complex numbers, rounding."""
import cmath
import math
from decimal import Decimal, getcontext
from fractions import Fraction
from statistics import mean, median, stdev

getcontext().prec = 30
print(2**200, -7 // 2, -7 % 3, divmod(-7, 3), pow(3, -1, 11))
print(0.1 + 0.2, 1e16, 1e-7, float("inf"), -0.0, round(2.5), round(-3.5), 7.0 // 2)
print(math.isqrt(10**20), math.comb(50, 25), math.gcd(12, 18), f"{math.pi:.10f}", math.fsum([0.1] * 10))
print(Decimal(1) / Decimal(7), Fraction(1, 3) + Fraction(1, 6), cmath.sqrt(-1), abs(3 + 4j))
print(mean([1, 2, 4]), median([3, 1, 2]), f"{stdev([1, 2, 4]):.6f}")
print(int("ff", 16), bin(10), oct(8), hex(255), f"{1234567.891:,.2f}", f"{255:#010x}", (255).to_bytes(2, "big"))
