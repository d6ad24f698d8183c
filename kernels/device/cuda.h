/* What the sieve's code means in CUDA. NVRTC compiles it with no header of CUDA's own. */

typedef unsigned int u32;
typedef unsigned long long u64;

#define FUNCTION static __device__ __forceinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(GROUP)
#define GLOBAL
#define TABLE const u32 *__restrict__

FUNCTION u64 item(void) { return (u64)blockIdx.x * GROUP + threadIdx.x; }

FUNCTION u32 items(void) { return gridDim.x * GROUP; }

FUNCTION u32 high_product(u32 a, u32 b) { return __umulhi(a, b); }

/* The number of one more entry of a list. The warp's threads that want one ask together. */
FUNCTION u32 reserve(GLOBAL u32 *length) {
    u32 asking = __activemask();
    u32 before = __popc(asking & ((1u << (threadIdx.x & 31)) - 1));
    u32 base = 0;
    if (before == 0) base = atomicAdd(length, __popc(asking));
    return __shfl_sync(asking, base, __ffs(asking) - 1) + before;
}
