"""Objects and arithmetic: nothing here is copied."""


def main():
    """Work, and keep many small objects."""
    total = 0
    for i in range(2_000_000):
        total += i * i % 7  # at: works
    return [i * 2 for i in range(400_000)]  # at: builds


main()
