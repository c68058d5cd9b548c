/* A small allocator to preload, as jemalloc and others are: it maps its memory itself, keeps freed blocks for the next
 * request of their size, and builds some of its entry points on others. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK ((size_t)1 << 20)
#define LARGE ((size_t)1 << 18)

struct head {
    void *base;   /* where the block's memory begins */
    size_t bytes; /* of that memory */
};

static atomic_flag lock = ATOMIC_FLAG_INIT;
static struct head *kept[64];
static char *next, *end;
static atomic_size_t served;

size_t tiny_served(void) { return served; }

static void *map(size_t bytes) {
    void *place = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return place == MAP_FAILED ? NULL : place;
}

/* Memory of a power of two of bytes. */
static void *take(size_t bytes, unsigned order) {
    if (bytes > LARGE) {
        return map(bytes);
    }
    while (atomic_flag_test_and_set(&lock)) {
    }
    void *place = kept[order];
    if (place) {
        kept[order] = *(struct head **)place;
    } else {
        if ((size_t)(end - next) < bytes) {
            next = map(CHUNK);
            end = next ? next + CHUNK : NULL;
        }
        if (next) {
            place = next;
            next += bytes;
        }
    }
    atomic_flag_clear(&lock);
    return place;
}

void *memalign(size_t alignment, size_t size) {
    alignment = alignment < 16 ? 16 : alignment;
    if (size > PTRDIFF_MAX / 2 || alignment > LARGE) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned order = 6;
    while (((size_t)1 << order) < size + alignment + sizeof(struct head)) {
        order++;
    }
    char *base = take((size_t)1 << order, order);
    if (!base) {
        errno = ENOMEM;
        return NULL;
    }
    uintptr_t at = ((uintptr_t)base + sizeof(struct head) + alignment - 1) & ~(alignment - 1);
    struct head *head = (struct head *)at - 1;
    head->base = base;
    head->bytes = (size_t)1 << order;
    served++;
    return (void *)at;
}

void free(void *block) {
    if (!block) {
        return;
    }
    struct head head = ((struct head *)block)[-1];
    if (head.bytes > LARGE) {
        munmap(head.base, head.bytes);
        return;
    }
    unsigned order = __builtin_ctzl(head.bytes);
    while (atomic_flag_test_and_set(&lock)) {
    }
    *(struct head **)head.base = kept[order];
    kept[order] = head.base;
    atomic_flag_clear(&lock);
}

size_t malloc_usable_size(void *block) {
    struct head *head = (struct head *)block - 1;
    return block ? (size_t)((char *)head->base + head->bytes - (char *)block) : 0;
}

void *malloc(size_t size) { return memalign(16, size); }

void *calloc(size_t items, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(items, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = malloc(bytes);
    return block ? memset(block, 0, bytes) : NULL;
}

void *realloc(void *old, size_t size) {
    if (old && !size) {
        free(old);
        return NULL;
    }
    void *block = malloc(size);
    if (block && old) {
        size_t had = malloc_usable_size(old);
        memcpy(block, old, had < size ? had : size);
        free(old);
    }
    return block;
}

int posix_memalign(void **into, size_t alignment, size_t size) {
    if (alignment < sizeof(void *) || (alignment & (alignment - 1))) {
        return EINVAL;
    }
    int before = errno;
    void *block = memalign(alignment, size);
    errno = before;
    return block ? (*into = block, 0) : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
void *valloc(size_t size) { return memalign(4096, size); }
void *pvalloc(size_t size) { return memalign(4096, (size + 4095) & ~(size_t)4095); }
