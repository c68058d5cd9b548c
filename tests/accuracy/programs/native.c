/* Every way into native memory. Each function is called from a Python line of its own, with the size of a block and the
 * number of blocks; what the line then allocated, freed and keeps is known to the byte (`WAYS` in test_native.py). */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define KEPT 300000

static void *kept[KEPT];
static size_t held;

static void check(int holds, const char *law) {
    if (!holds) {
        fprintf(stderr, "native.c: %s does not hold (errno %d)\n", law, errno);
        abort();
    }
}

static void keep(void *block) {
    check(block != NULL && held < KEPT, "a block was given");
    kept[held++] = block;
}

/* Writes to the first and last byte, so that the block is used. */
static void *touched(void *block, size_t size) {
    ((volatile char *)block)[0] = 1;
    ((volatile char *)block)[size - 1] = 1;
    return block;
}

#define WAY(name, ...)                         \
    void way_##name(size_t size, size_t count) { \
        for (size_t i = 0; i < count; i++) {   \
            __VA_ARGS__                        \
        }                                      \
    }

void way_nothing(size_t size, size_t count) { (void)size, (void)count; }

WAY(malloc, keep(touched(malloc(size), size));)
WAY(churn, free(touched(malloc(size), size));)
WAY(calloc, keep(touched(calloc(3, size), size));)
WAY(calloc_overflow, check(calloc(SIZE_MAX / 2, 3) == NULL, "calloc refuses"); keep(malloc(size));)
WAY(realloc_null, keep(realloc(NULL, size));)
WAY(realloc_grows, void *block = malloc(size); block = realloc(block, 2 * size); keep(realloc(block, 3 * size));)
WAY(realloc_shrinks, keep(realloc(malloc(3 * size), size));)
WAY(realloc_zero, check(realloc(malloc(size), 0) == NULL, "realloc to 0 frees");)
WAY(realloc_refused, char *block = malloc(size); memset(block, 7, size);
    check(realloc(block, PTRDIFF_MAX - 64) == NULL && errno == ENOMEM, "realloc refuses");
    check(block[0] == 7 && block[size - 1] == 7, "the old block is kept"); keep(block);)
WAY(reallocarray, keep(reallocarray(reallocarray(NULL, 3, size), 5, size));)
WAY(reallocarray_overflow, void *block = malloc(size);
    check(reallocarray(block, SIZE_MAX / 2, 3) == NULL, "reallocarray refuses"); keep(block);)
WAY(posix_memalign, void *block = NULL; check(posix_memalign(&block, 64, size) == 0, "posix_memalign");
    check((uintptr_t)block % 64 == 0, "alignment"); keep(block);)
WAY(posix_memalign_refused, void *block = NULL; check(posix_memalign(&block, 3, size) == EINVAL, "EINVAL");
    check(block == NULL, "nothing is stored"); keep(malloc(size));)
WAY(aligned_alloc, void *block = aligned_alloc(256, size); check((uintptr_t)block % 256 == 0, "alignment"); keep(block);)
WAY(memalign, void *block = memalign(1024, size); check((uintptr_t)block % 1024 == 0, "alignment"); keep(block);)
WAY(valloc, void *block = valloc(size); check((uintptr_t)block % PAGE == 0, "alignment"); keep(block);)
WAY(pvalloc, void *block = pvalloc(size); check((uintptr_t)block % PAGE == 0, "alignment"); keep(block);)
WAY(free_null, free(NULL); keep(malloc(size));)

extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));

WAY(free_sized, void *block = malloc(size); if (free_sized) { free_sized(block, size); } else { free(block); })
WAY(free_aligned_sized, void *block = aligned_alloc(64, size);
    if (free_aligned_sized) { free_aligned_sized(block, 64, size); } else { free(block); })

WAY(strdup, char *text = malloc(size); memset(text, 'x', size - 1); text[size - 1] = 0; keep(strdup(text)); free(text);)

/* Ten blocks, freed from the last to the first. */
WAY(reverse, void *blocks[10]; for (int j = 0; j < 10; j++) { blocks[j] = malloc(size); }
    for (int j = 9; j >= 0; j--) { free(blocks[j]); })

/* malloc and free of this library's own, three calls deep. */
static void __attribute__((noinline)) third(size_t size) { keep(malloc(size)); __asm__ volatile(""); }
static void __attribute__((noinline)) second(size_t size) { third(size); __asm__ volatile(""); }
WAY(deep, second(size);)

/* Python's allocators; the caller holds the GIL. Three levels deep as well. */
#define DOMAIN(domain)                                                                                      \
    extern void *domain##_Malloc(size_t) __attribute__((weak));                                             \
    extern void *domain##_Calloc(size_t, size_t) __attribute__((weak));                                     \
    extern void *domain##_Realloc(void *, size_t) __attribute__((weak));                                    \
    extern void domain##_Free(void *) __attribute__((weak));                                                \
    static void __attribute__((noinline)) third_##domain(size_t size) { keep(domain##_Malloc(size)); }      \
    static void __attribute__((noinline)) second_##domain(size_t size) { third_##domain(size); __asm__(""); } \
    WAY(domain##_malloc, second_##domain(size);)                                                            \
    WAY(domain##_calloc, keep(domain##_Calloc(3, size));)                                                   \
    WAY(domain##_realloc, keep(domain##_Realloc(domain##_Realloc(NULL, size), 2 * size));)                  \
    WAY(domain##_free, domain##_Free(domain##_Malloc(size)); domain##_Free(NULL);)
DOMAIN(PyMem)
DOMAIN(PyObject)
extern void *PyMem_RawMalloc(size_t) __attribute__((weak));
extern void *PyMem_RawCalloc(size_t, size_t) __attribute__((weak));
extern void *PyMem_RawRealloc(void *, size_t) __attribute__((weak));
extern void PyMem_RawFree(void *) __attribute__((weak));
WAY(PyMem_Raw_malloc, keep(PyMem_RawMalloc(size));)
WAY(PyMem_Raw_calloc, keep(PyMem_RawCalloc(3, size));)
WAY(PyMem_Raw_realloc, keep(PyMem_RawRealloc(PyMem_RawRealloc(NULL, size), 2 * size));)
WAY(PyMem_Raw_free, PyMem_RawFree(PyMem_RawMalloc(size)); PyMem_RawFree(NULL);)

/* Mappings; `size` is a number of pages here. */
static char *mapped(char *at, size_t pages, int protection, int flags) {
    char *place = mmap(at, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    check(place != MAP_FAILED, "mmap");
    return place;
}
#define RW (PROT_READ | PROT_WRITE)
WAY(mmap, touched(mapped(NULL, size, RW, 0), PAGE);)
WAY(mmap_churn, check(munmap(mapped(NULL, size, RW, 0), size * PAGE) == 0, "munmap");)
WAY(mmap_noreserve, mapped(NULL, size, RW, MAP_NORESERVE);)
WAY(mmap_none, mapped(NULL, size, PROT_NONE, MAP_NORESERVE);)
WAY(mmap_shared, check(mmap(NULL, size * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap");)
WAY(mmap_file, FILE *file = tmpfile(); check(ftruncate(fileno(file), size * PAGE) == 0, "ftruncate");
    check(mmap(NULL, size * PAGE, RW, MAP_SHARED, fileno(file), 0) != MAP_FAILED, "mmap"); fclose(file);)
WAY(mmap_over, mapped(mapped(NULL, size, RW, 0) + PAGE, size - 2, RW, MAP_FIXED);)
WAY(munmap_first, check(munmap(mapped(NULL, size, RW, 0), PAGE) == 0, "munmap");)
WAY(munmap_last, check(munmap(mapped(NULL, size, RW, 0) + (size - 1) * PAGE, PAGE) == 0, "munmap");)
WAY(munmap_middle, check(munmap(mapped(NULL, size, RW, 0) + PAGE, PAGE) == 0, "munmap");)
/* Two pages and a byte: the kernel takes three. */
WAY(munmap_odd, check(munmap(mapped(NULL, size, RW, 0), 2 * PAGE + 1) == 0, "munmap");)
WAY(munmap_refused, check(munmap(mapped(NULL, size, RW, 0) + 1, PAGE) == -1 && errno == EINVAL, "EINVAL");)
/* Whole pages, which reach beyond what a program may have: only the kernel can tell. */
WAY(munmap_beyond, check(munmap(mapped(NULL, size, RW, 0), (size_t)1 << 62) == -1 && errno == EINVAL, "EINVAL");)
static void opened(char *at, size_t bytes, int protection) { check(mprotect(at, bytes, protection) == 0, "mprotect"); }
/* Address space becomes memory piece by piece, some of it twice, and goes as a whole. */
WAY(mprotect_opens, char *place = mapped(NULL, 3 * size, PROT_NONE, MAP_NORESERVE); opened(place, size * PAGE, RW);
    opened(place + PAGE * (size - 1), 2 * PAGE, RW); opened(place, PAGE, PROT_NONE); opened(place, PAGE, PROT_READ);)
WAY(mprotect_closes, char *place = mapped(NULL, 2 * size, PROT_NONE, 0); opened(place, size * PAGE, RW);
    check(munmap(place, 2 * size * PAGE) == 0, "munmap");)
/* Two maps side by side in a place that was reserved, gone with one call that names more than both. */
WAY(munmap_two, char *place = mapped(NULL, 2 * size + 2, PROT_NONE, MAP_NORESERVE);
    mapped(place + PAGE, size, RW, MAP_FIXED); mapped(place + (1 + size) * PAGE, size, RW, MAP_FIXED);
    check(munmap(place, (2 * size + 2) * PAGE) == 0, "munmap");)
WAY(mremap_moves, char *place = mapped(NULL, size, RW, 0); mapped(place + size * PAGE, 1, PROT_NONE, 0);
    check(mremap(place, size * PAGE, 3 * size * PAGE, MREMAP_MAYMOVE) != MAP_FAILED, "mremap");)
WAY(mremap_grows, char *place = mapped(NULL, 3 * size, PROT_NONE, MAP_NORESERVE);
    check(munmap(place, 3 * size * PAGE) == 0, "munmap"); mapped(place, size, RW, MAP_FIXED);
    check(mremap(place, size * PAGE, 2 * size * PAGE, MREMAP_MAYMOVE) != MAP_FAILED, "mremap");)
WAY(mremap_shrinks, char *place = mapped(NULL, 3 * size, RW, 0);
    check(mremap(place, 3 * size * PAGE, size * PAGE, 0) == place, "mremap");)
WAY(mremap_refused, char *place = mapped(NULL, 4 * size, PROT_NONE, MAP_NORESERVE); mapped(place, size, RW, MAP_FIXED);
    check(mremap(place, size * PAGE, 2 * size * PAGE, 0) == MAP_FAILED, "mremap refuses");)

/* What libc allocates by itself. */
size_t line_bytes;
size_t stream_bytes;
void way_getline(size_t size, size_t count) {
    (void)count;
    FILE *file = tmpfile();
    for (size_t i = 0; i < size; i++) {
        fputc('x', file);
    }
    rewind(file);
    char *line = NULL;
    line_bytes = 0;
    check(getline(&line, &line_bytes, file) == (ssize_t)size, "getline");
    fclose(file);
    keep(line);
}
void way_open_memstream(size_t size, size_t count) {
    (void)count;
    char *text;
    FILE *file = open_memstream(&text, &stream_bytes);
    for (size_t i = 0; i < size; i++) {
        fputc('x', file);
    }
    fclose(file);
    keep(text);
}

/* `malloc_usable_size` is the allocator's own answer, whatever we record. */
size_t usable(size_t size) {
    void *block = malloc(size);
    size_t answer = malloc_usable_size(block);
    free(block);
    return answer;
}

/* A hundred threads, each with `count` blocks, whose bytes no line owns; a destructor allocates when each one ends. */
static pthread_key_t key;
static size_t thread_size, thread_count;
static void destructor(void *value) { (void)value; free(malloc(thread_size)); }
static void *worker(void *slot) {
    void **mine = slot;
    for (size_t i = 0; i < thread_count; i++) {
        mine[i] = malloc(thread_size);
    }
    pthread_setspecific(key, mine);
    return NULL;
}
void threads(size_t size, size_t count) {
    pthread_t all[100];
    thread_size = size, thread_count = count;
    pthread_key_create(&key, destructor);
    for (int i = 0; i < 100; i++) {
        check(held + count < KEPT && pthread_create(&all[i], NULL, worker, &kept[held]) == 0, "pthread_create");
        held += count;
    }
    for (int i = 0; i < 100; i++) {
        pthread_join(all[i], NULL);
    }
}
/* The same blocks, freed by whoever calls. */
void free_kept(size_t from) {
    while (held > from) {
        free(kept[--held]);
    }
}
size_t kept_blocks(void) { return held; }

/* A thread of C that calls back. */
static void *caller(void *callback) { ((void (*)(void))callback)(); return NULL; }
void call_back(void (*callback)(void)) {
    pthread_t thread;
    check(pthread_create(&thread, NULL, caller, (void *)callback) == 0, "pthread_create");
    pthread_join(thread, NULL);
}
