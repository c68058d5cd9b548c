"""Large blocks with known bytes."""

import ctypes
import mmap
import threading

KEPT = []


def pairs():
    """Two sizes in turn."""
    for _ in range(300):
        a = bytearray(900_001)  # at: pair900
        b = bytearray(200_003)  # at: pair200
        del a, b


def churn():
    """A line that churns beside one that keeps."""
    for _ in range(400):
        bytearray(1_048_573)  # at: churn
        KEPT.append(bytearray(20_011))  # at: keeps20k


def leak():
    """A line that leaks beside one that frees as much."""
    for _ in range(25):
        KEPT.append(bytearray(1_048_549))  # at: leaks
        block = bytearray(1_048_571)  # at: frees
        del block


def threads():
    """A hundred threads that keep a block each."""

    def work():
        KEPT.append(bytearray(901_775))  # at: thread

    workers = [threading.Thread(target=work) for _ in range(100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def foreign():
    """malloc, realloc and mremap through ctypes."""
    libc = ctypes.CDLL(None)
    for name in ("malloc", "realloc", "mremap", "mmap"):
        getattr(libc, name).restype = ctypes.c_void_p
    libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    KEPT.append(libc.malloc(3_000_017))  # at: malloc
    grown = libc.malloc(1_000_003)  # at: seed
    for size in (2_000_003, 4_000_037, 8_000_009):
        grown = libc.realloc(grown, size)  # at: realloc
    place = libc.mmap(None, 4_194_304, 3, 0x22, -1, 0)  # at: mmap
    libc.mremap(place, 4_194_304, 12_582_912, 1)  # at: mremap
    KEPT.append(mmap.mmap(-1, 6_291_456))  # at: anonymous


def producer():
    """One thread allocates, the other frees."""
    ready, queue = threading.Semaphore(0), []

    def consume():
        for _ in range(50):
            ready.acquire()
            queue.pop()  # at: consumes

    consumer = threading.Thread(target=consume)
    consumer.start()
    for _ in range(50):
        queue.append(bytearray(524_309))  # at: produces
        ready.release()
    consumer.join()


def peak():
    """A temporary peak over what is kept."""
    big = bytearray(b"x") * 150_000_001  # at: peak
    del big


pairs()
churn()
leak()
threads()
foreign()
producer()
peak()
