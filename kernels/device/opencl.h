/* What the sieve's code means in OpenCL C 1.2. */

typedef uint u32;
typedef ulong u64;

#define FUNCTION static inline __attribute__((always_inline))
/* For what is long and seldom run. */
#define SELDOM static
#define KERNEL __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
#define GLOBAL __global
#define TABLE __global const u32 *

FUNCTION u64 item(void) { return get_global_id(0); }

FUNCTION u32 items(void) { return (u32)get_global_size(0); }

FUNCTION u32 high_product(u32 a, u32 b) { return (u32)((u64)a * b >> 32); }

/* Keeps the compiler from knowing where a word comes from. Without it AMD's holds hundreds of words
   in registers for later. It costs no instruction. */
#ifdef __AMDGCN__
#define OPAQUE(word, axis) __asm__ volatile("" : "+v"(word))
#else
#define OPAQUE(word, axis)
#endif

/* Adds to a count where a residue is a draw. */
#define MATCH(count, residue, draw, one) \
    count += residue == draw ? one : 0;                                                           \
    OPAQUE(count, x)

/* The number of one more entry of a list. */
FUNCTION u32 reserve(GLOBAL u32 *length) { return atomic_inc(length); }
