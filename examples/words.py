"""Count words and score them: one hot line is native (a regular expression), one is Python; then a nap."""

import re
import time
from collections import Counter

WORD = re.compile(r"[a-z]+")


def read(pages: int) -> list[str]:
    text = []
    for page in range(pages):
        text.append(f"page {page} the quick brown fox jumps over the lazy dog " * 20)
    return text


def count(text: list[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for page in text:
        words.update(WORD.findall(page))
    return words


def score(words: Counter[str], rounds: int) -> int:
    total = 0
    for _ in range(rounds):
        for word, times in words.items():
            total += sum(ord(letter) * times for letter in word) % 97
    return total


def main() -> None:
    words = count(read(8_000) * 3)
    print(score(words, 60_000))
    time.sleep(0.2)


main()
