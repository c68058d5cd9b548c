// Every way into memory that C++'s operators are. Each function is called from a Python line of its own, with the size of
// a block and the number of blocks; what the line then allocated, freed and keeps is known to the byte (`NEWS` in
// tests/allocators).
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

namespace {
constexpr std::size_t KEPT = 300000;
constexpr std::align_val_t WIDE{256};
struct Kept {
    void *block;
    void (*drop)(void *);
} kept[KEPT];
std::size_t held;

void one(void *block) { ::operator delete(block); }
void array(void *block) { ::operator delete[](block); }
void wide(void *block) { ::operator delete(block, WIDE); }
void wide_array(void *block) { ::operator delete[](block, WIDE); }

void check(bool holds, const char *law) {
    if (!holds) {
        std::fprintf(stderr, "news.cpp: %s does not hold (errno %d)\n", law, errno);
        std::abort();
    }
}

void *touched(void *block, std::size_t size) {
    static_cast<volatile char *>(block)[0] = 1;
    static_cast<volatile char *>(block)[size - 1] = 1;
    return block;
}

void keep(void *block, void (*drop)(void *) = one) {
    check(block != nullptr && held < KEPT, "a block was given");
    kept[held++] = {block, drop};
}

void *aligned(void *block) {
    check(reinterpret_cast<std::size_t>(block) % static_cast<std::size_t>(WIDE) == 0, "a block is aligned");
    return block;
}

volatile std::size_t too_much = PTRDIFF_MAX / 2;
int handled;
void *reserve;

// Makes room once.
void let_go() {
    handled++;
    ::operator delete(reserve);
    std::set_new_handler(nullptr);
}

struct Unwound {
    int *count;
    ~Unwound() { ++*count; }
};
} // namespace

#define WAY(name, ...)                                                            \
    extern "C" void way_##name(std::size_t size, std::size_t count) {             \
        for (std::size_t round = 0; round < count; round++) {                     \
            __VA_ARGS__                                                           \
        }                                                                         \
    }
#define KEEP(name, drop, ...) \
    WAY(name, errno = 77; keep(touched(__VA_ARGS__, size), drop); check(errno == 77, "errno is kept");)

WAY(nothing, )
KEEP(new, one, ::operator new(size))
KEEP(new_array, array, ::operator new[](size))
KEEP(new_nothrow, one, ::operator new(size, std::nothrow))
KEEP(new_array_nothrow, array, ::operator new[](size, std::nothrow))
KEEP(new_aligned, wide, aligned(::operator new(size, WIDE)))
KEEP(new_array_aligned, wide_array, aligned(::operator new[](size, WIDE)))
KEEP(new_aligned_nothrow, wide, aligned(::operator new(size, WIDE, std::nothrow)))
KEEP(new_array_aligned_nothrow, wide_array, aligned(::operator new[](size, WIDE, std::nothrow)))
WAY(delete, ::operator delete(touched(::operator new(size), size));)
WAY(delete_array, ::operator delete[](touched(::operator new[](size), size));)
WAY(delete_sized, ::operator delete(touched(::operator new(size), size), size);)
WAY(delete_array_sized, ::operator delete[](touched(::operator new[](size), size), size);)
WAY(delete_nothrow, ::operator delete(touched(::operator new(size, std::nothrow), size), std::nothrow);)
WAY(delete_array_nothrow, ::operator delete[](touched(::operator new[](size, std::nothrow), size), std::nothrow);)
WAY(delete_aligned, ::operator delete(touched(::operator new(size, WIDE), size), WIDE);)
WAY(delete_array_aligned, ::operator delete[](touched(::operator new[](size, WIDE), size), WIDE);)
WAY(delete_sized_aligned, ::operator delete(touched(::operator new(size, WIDE), size), size, WIDE);)
WAY(delete_array_sized_aligned, ::operator delete[](touched(::operator new[](size, WIDE), size), size, WIDE);)
WAY(delete_aligned_nothrow, ::operator delete(touched(::operator new(size, WIDE), size), WIDE, std::nothrow);)
WAY(delete_array_aligned_nothrow, ::operator delete[](touched(::operator new[](size, WIDE), size), WIDE, std::nothrow);)
WAY(delete_null, ::operator delete(nullptr); keep(touched(::operator new(size), size));)
WAY(vector, std::vector<char> bytes(size); bytes.resize(3 * size); touched(bytes.data(), 3 * size);)

// The refused block counts for nothing, and whoever lies between is told of the exception.
WAY(refused, {
    int unwound = 0;
    bool caught = false;
    try {
        Unwound here{&unwound};
        keep(::operator new(too_much));
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    check(caught && unwound == 1, "std::bad_alloc passes");
    try {
        keep(::operator new[](too_much, WIDE));
    } catch (const std::bad_alloc &) {
        unwound++;
    }
    check(unwound == 2, "std::bad_alloc passes");
    check(::operator new(too_much, std::nothrow) == nullptr, "a refusal stays one");
    check(::operator new[](too_much, WIDE, std::nothrow) == nullptr, "a refusal stays one");
    keep(touched(::operator new(size), size));
})

// What a handler frees ends, and the exception comes after it.
WAY(handled, {
    bool caught = false;
    handled = 0;
    reserve = touched(::operator new(size), size);
    std::set_new_handler(let_go);
    try {
        keep(::operator new(too_much));
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    check(caught && handled == 1, "a handler is called");
    keep(touched(::operator new(size), size));
})

extern "C" void free_kept(std::size_t) {
    while (held > 0) {
        held--;
        kept[held].drop(kept[held].block);
    }
}
