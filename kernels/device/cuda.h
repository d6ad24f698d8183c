/* What the sieve's code means in CUDA. NVRTC compiles it with no header of CUDA's own. */

typedef unsigned int u32;
typedef unsigned long long u64;

#define FUNCTION static __device__ __forceinline__
/* For what is long and seldom run: one copy of it. */
#define SELDOM static __device__ __noinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(GROUP)
#define GLOBAL
#define TABLE const u32 *__restrict__

FUNCTION u64 item(void) { return (u64)blockIdx.x * GROUP + threadIdx.x; }

FUNCTION u32 items(void) { return gridDim.x * GROUP; }

FUNCTION u32 high_product(u32 a, u32 b) { return __umulhi(a, b); }

/* Keeps the compiler from seeing that a word is one that it had before: the grid has one row and
   one layer, both number 0, which no compiler knows. A word is made opaque once by each axis. */
#define OPAQUE(word, axis) ((word) ^= blockIdx.axis)

/* Adds to a count where a residue is a draw. In assembly, since the compiler would make three
   instructions of it, and gather them at the end with all residues in registers until then. */
#define MATCH(count, residue, draw, one)                                                          \
    asm volatile("{ .reg .pred p; setp.eq.u32 p, %1, %2; @p add.u32 %0, %0, %3; }"                \
                 : "+r"(count)                                                                    \
                 : "r"(residue), "n"(draw), "n"(one))

/* The number of one more entry of a list. The warp's threads that want one ask together. */
FUNCTION u32 reserve(GLOBAL u32 *length) {
    u32 asking = __activemask();
    u32 before = __popc(asking & ((1u << (threadIdx.x & 31)) - 1));
    u32 base = 0;
    if (before == 0) base = atomicAdd(length, __popc(asking));
    return __shfl_sync(asking, base, __ffs(asking) - 1) + before;
}
