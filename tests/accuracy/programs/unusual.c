/* Code that leaves its frames in other ways than by returning, and code that keeps memory of its own. Every function is
 * called from a Python line with bytes that are known (test_libraries.py). */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unwind.h>

static void *kept[4096];
static int held;

static void let_go(void *place) { free(*(void **)place); }

/* A handler of the program's own leaves the signal by a jump; half of the blocks are kept. */
static sigjmp_buf back;
static void leave(int number) { siglongjmp(back, number); }
int jumps(size_t size, int count) {
    struct sigaction mine = {.sa_handler = leave}, before;
    volatile int jumped = 0;
    sigaction(SIGSEGV, &mine, &before);
    for (volatile int i = 0; i < count; i++) {
        void *volatile block = malloc(size);
        if (sigsetjmp(back, 1) == SIGSEGV) {
            jumped++;
        } else {
            *(volatile int *)(uintptr_t)16 = 1;
        }
        if (i % 2) {
            free(block);
        } else {
            kept[held++] = block;
        }
    }
    sigaction(SIGSEGV, &before, NULL);
    return jumped;
}

/* An exception: frames that hold a block each are unwound, and their cleanups free it. */
static jmp_buf caught;
static char *catcher;
static _Unwind_Reason_Code further(int version, _Unwind_Action actions, _Unwind_Exception_Class kind,
                                   struct _Unwind_Exception *exception, struct _Unwind_Context *context, void *none) {
    (void)version, (void)kind, (void)none;
    if ((actions & _UA_END_OF_STACK) || (char *)_Unwind_GetCFA(context) > catcher) {
        free(exception);
        longjmp(caught, 1);
    }
    return _URC_NO_REASON;
}
static void __attribute__((noinline)) throws(size_t size, int depth) {
    void *block __attribute__((cleanup(let_go))) = malloc(size);
    if (depth) {
        throws(size, depth - 1);
        __asm__ volatile("");
        return;
    }
    struct _Unwind_Exception *exception = calloc(1, sizeof *exception);
    _Unwind_ForcedUnwind(exception, further, NULL);
    abort();
}
int unwinds(size_t size, int count) {
    volatile int thrown = 0;
    for (volatile int i = 0; i < count; i++) {
        catcher = __builtin_frame_address(0);
        if (setjmp(caught)) {
            thrown++;
        } else {
            throws(size, 9);
        }
    }
    return thrown;
}

/* Threads that end from deep inside, by themselves or because another one says so; their cleanups free. */
static pthread_barrier_t ready;
static void __attribute__((noinline)) deep(size_t size, int depth, int by_itself) {
    void *block = malloc(size);
    pthread_cleanup_push(free, block);
    if (depth) {
        deep(size, depth - 1, by_itself);
    } else if (by_itself) {
        pthread_exit(NULL);
    } else {
        pthread_barrier_wait(&ready);
        for (;;) {
            pthread_testcancel();
        }
    }
    pthread_cleanup_pop(1);
}
struct way {
    size_t size;
    int by_itself;
};
static void *begins(void *given) {
    struct way *way = given;
    deep(way->size, 9, way->by_itself);
    return given;
}
int ends(size_t size, int count, int by_itself) {
    struct way way = {size, by_itself};
    int ended = 0;
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        void *answer = &way;
        pthread_barrier_init(&ready, NULL, 2);
        pthread_create(&thread, NULL, begins, &way);
        if (!by_itself) {
            pthread_barrier_wait(&ready);
            pthread_cancel(thread);
        }
        pthread_join(thread, &answer);
        ended += answer == (by_itself ? NULL : PTHREAD_CANCELED);
        pthread_barrier_destroy(&ready);
    }
    return ended;
}

/* An allocator of the library's own: it maps a region when it needs one, and hands out parts of it. */
#define REGION ((size_t)32 << 20)
static char *region, *end_of_region;
static char fixed[(size_t)24 << 20];
void *take(size_t size) {
    if ((size_t)(end_of_region - region) < size) {
        region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        end_of_region = region + REGION;
    }
    char *block = region;
    region += size;
    return memset(block, 1, size);
}
/* One without any: what it hands out is a part of the file's own data. */
void *take_fixed(size_t size) { return memset(fixed, 1, size); }
