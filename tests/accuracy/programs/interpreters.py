"""A sub-interpreter with a GIL of its own or the shared one, run by the first thread or by another.

The words: seconds, `shared` or `own`, `here` or `thread`. The interpreter is always made by the first thread.
"""

import json
import os
import sys
import threading
import time


def spent(work):
    """Run it and return what the thread's CPU clock says."""
    before = time.thread_time()
    work()
    return time.thread_time() - before


def spin(seconds):
    """Bytecode alone."""
    end = time.thread_time() + seconds
    x = 1
    while time.thread_time() < end:
        for i in range(2000):  # at: inside_loop
            x = (x * 31 + i) % 65_537  # at: inside


def sort(seconds):
    """One call of C code after the other."""
    end = time.thread_time() + seconds
    numbers = [i * 7919 % 100_003 for i in range(100_003)]
    while time.thread_time() < end:
        sorted(numbers)  # at: native


def inside(seconds, told):
    """What the sub-interpreter runs."""
    truth = {"inside": spent(lambda: spin(seconds)), "native": spent(lambda: sort(seconds))}
    kept = [bytearray(1 << 20) for _ in range(31)]  # at: bytes
    time.sleep(0.4)  # at: sleep
    os.write(told, json.dumps({**truth, "kept": len(kept)}).encode())


def outer(seconds):
    """Work of the main interpreter."""
    end = time.thread_time() + seconds
    x = 1
    while time.thread_time() < end:
        for i in range(2000):  # at: outer_loop
            x = (x * 31 + i) % 65_537  # at: outer


def made(own):
    """A new interpreter: a function that runs text in it."""
    if sys.version_info >= (3, 13):
        import _interpreters

        number = _interpreters.create("isolated" if own else "legacy")
        return lambda text: (_interpreters.exec(number, text), _interpreters.destroy(number))
    import _xxsubinterpreters

    number = _xxsubinterpreters.create(isolated=own)
    return lambda text: (_xxsubinterpreters.run_string(number, text), _xxsubinterpreters.destroy(number))


def main(seconds, own, other):
    """Outside and inside in turn."""
    read, told = os.pipe()
    text = f"exec(compile(open({__file__!r}).read(), {__file__!r}, 'exec'), {{'__name__': 'sub'}})\n"
    run = made(own)
    text = text.replace("'sub'}", f"'sub', 'SECONDS': {seconds}, 'TOLD': {told}}}")
    truth = {"outer": spent(lambda: outer(seconds))}
    if other:
        worker = threading.Thread(target=run, args=(text,), name="worker")
        worker.start()
        worker.join()
    else:
        run(text)
    print(json.dumps(truth | json.loads(os.read(read, 4096))))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2] == "own", sys.argv[3] == "thread")
else:
    inside(SECONDS, TOLD)  # noqa: F821
