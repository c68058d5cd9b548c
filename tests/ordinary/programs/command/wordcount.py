"""A command that pip installs: counts words."""

import argparse
import re


def count(text, times):
    found = {}
    for number in range(times):
        for word in re.findall(r"[a-z]+", text):
            found[word, number] = found.get((word, number), 0) + 1  # slowest, peak
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=1)
    options = parser.parse_args()
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = " ".join(a + b + c for a in letters for b in letters for c in letters)
    print(len(count(text, options.times)))
