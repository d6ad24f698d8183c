/* What the sieve's code means in OpenCL C 1.2. */

typedef uint u32;
typedef ulong u64;

#define FUNCTION static inline
#define KERNEL __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
#define GLOBAL __global
#define TABLE __global const u32 *

FUNCTION u64 item(void) { return get_global_id(0); }

FUNCTION u32 items(void) { return (u32)get_global_size(0); }

FUNCTION u32 high_product(u32 a, u32 b) { return mul_hi(a, b); }

/* The number of one more entry of a list. */
FUNCTION u32 reserve(GLOBAL u32 *length) { return atomic_inc(length); }
