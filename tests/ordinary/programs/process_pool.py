"""A pool of processes that tries numbers, and a parent that collects the answers."""

import math
from concurrent.futures import ProcessPoolExecutor


def primes(start):
    found = []
    for number in range(start, start + 6_000):
        if all(number % divisor for divisor in range(2, math.isqrt(number) + 1)):  # slowest
            found.append(number)
    return found


def main():
    table = {number: (number, str(number)) for number in range(150_000)}  # peak
    with ProcessPoolExecutor(2) as pool:
        lists = list(pool.map(primes, range(100_000, 220_000, 6_000)))
    print(sum(map(len, lists)), len(table))


if __name__ == "__main__":
    main()
