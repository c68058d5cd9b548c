/* A library that is loaded in many ways; it allocates in its constructor too. */
#include <stdlib.h>

static void *kept[64];
static int held;
static void __attribute__((constructor)) begin(void) { kept[held++] = malloc(2000003); }
static void __attribute__((destructor)) end(void) {
    while (held > 0) {
        free(kept[--held]);
    }
}
void keep(size_t size) { kept[held++] = malloc(size); }
