/* A library that needs another one, which lies beside it. */
#include <stddef.h>

extern void keep(size_t size);
void keep_for_me(size_t size) { keep(size); }
