"""joblib: a function in the workers of loky."""

from joblib import Parallel, delayed


def distance(one, other):
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))  # slowest
    return row[-1]


if __name__ == "__main__":
    words = ["".join(chr(97 + (n * k) % 26) for k in range(260)) for n in range(12)]
    pairs = [(a, b) for a in words for b in words[:4]]
    print(sum(Parallel(n_jobs=2)(delayed(distance)(a, b) for a, b in pairs)))
