// What tree-sitter's own C (src/lib.c, tried with 0.22.6) is told before it is compiled: to call
// less, and not through pointers, which is where a component spends its time.

#include <stdlib.h>

// `alloc.h` lets these be defined; otherwise each goes through a pointer to a function that calls
// the C library's. So `ts_set_allocator` must not be called in components: pieces would be freed
// by another allocator than they come from. Without memory this ends without a message; only
// pieces of no bytes may be NULL.
static inline void *rlhf_piece(void *piece, size_t wanted) {
  if (!piece && wanted > 0) abort();
  return piece;
}
static inline void *rlhf_malloc(size_t bytes) {
  return rlhf_piece(malloc(bytes), bytes);
}
static inline void *rlhf_calloc(size_t count, size_t bytes) {
  return rlhf_piece(calloc(count, bytes), count);
}
static inline void *rlhf_realloc(void *piece, size_t bytes) {
  return rlhf_piece(realloc(piece, bytes), bytes);
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
