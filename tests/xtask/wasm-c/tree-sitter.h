// What tree-sitter's own C (src/lib.c, tried with 0.22.6) is told before it is compiled: nothing
// that changes what it does, but fewer calls, and none through pointers, where a component spends
// its time.

#include <stdlib.h>

// `alloc.h` lets these be defined; otherwise each goes through a pointer to a function that calls
// the C library's. So `ts_set_allocator` has no effect in components.
static inline void *rlhf_whole(void *piece, size_t bytes) {
  if (!piece && bytes > 0) abort();
  return piece;
}
static inline void *rlhf_malloc(size_t bytes) {
  return rlhf_whole(malloc(bytes), bytes);
}
static inline void *rlhf_calloc(size_t count, size_t bytes) {
  return rlhf_whole(calloc(count, bytes), count);
}
static inline void *rlhf_realloc(void *piece, size_t bytes) {
  return rlhf_whole(realloc(piece, bytes), bytes);
}
#define ts_malloc rlhf_malloc
#define ts_calloc rlhf_calloc
#define ts_realloc rlhf_realloc
#define ts_free free

// `lexer.c` takes one of these two by a pointer of this name, for each character.
#define decode(bytes, count, character)           \
  (decode == ts_decode_utf8                       \
     ? ts_decode_utf8(bytes, count, character)    \
     : ts_decode_utf16(bytes, count, character))

// What its authors mean to be inlined is.
#define inline inline __attribute__((always_inline))
