"""multiprocessing with spawned workers, as on every system but Linux."""

import multiprocessing


def score(text):
    best = 0
    for start in range(len(text)):
        best = max(best, len(set(text[start : start + 400])))  # slowest
    return best


def main():
    texts = [f"{number:05d} abc " * 1_000 for number in range(16)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(max(pool.map(score, texts)))


if __name__ == "__main__":
    main()
