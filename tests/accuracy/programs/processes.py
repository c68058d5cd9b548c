"""Three processes that work on lines of their own at once; what each one's CPU clock says of the work is the truth."""

import json
import multiprocessing
import sys
import time

CLOCK = time.process_time


def parent(seconds):
    """Works in the process that was started."""
    x, began = 1, CLOCK()
    while CLOCK() < began + seconds:
        for i in range(20_000):  # at: parent_loop
            x = (x * 31 + i) % 65_537  # at: parent
    return CLOCK() - began


def forked(seconds, results):
    """Works in a forked child."""
    x, began = 1, CLOCK()
    while CLOCK() < began + seconds:
        for i in range(20_000):  # at: forked_loop
            x = (x * 31 + i) % 65_537  # at: forked
    results.put(("forked", CLOCK() - began))


def spawned(seconds, results):
    """Works in a child that is an interpreter of its own."""
    x, began = 1, CLOCK()
    while CLOCK() < began + seconds:
        for i in range(20_000):  # at: spawned_loop
            x = (x * 31 + i) % 65_537  # at: spawned
    results.put(("spawned", CLOCK() - began))


def main(seconds):
    """Start the children, work, and tell all clocks."""
    children = []
    for work, way, part in ((forked, "fork", 0.5), (spawned, "spawn", 0.25)):
        context = multiprocessing.get_context(way)
        results = context.SimpleQueue()
        child = context.Process(target=work, args=(seconds * part, results))
        child.start()
        children.append((child, results))
    spent = {"parent": parent(seconds)}
    for child, results in children:
        name, clock = results.get()
        spent[name] = clock
        child.join()
    print(json.dumps(spent))


if __name__ == "__main__":
    main(float(sys.argv[1]))
