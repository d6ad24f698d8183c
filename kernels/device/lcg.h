/* Linear congruential generators. Any number of steps is one step with other constants, which the
   plan brings: rng_leap. The state that is left is the one that the output comes from. */

#if defined(LCG32) || defined(MINSTD)

typedef struct { u32 s; } Rng;
typedef u32 State;

/* Modulo the prime 2^31 - 1, for x below 2^31 (2^31 - 1): since 2^31 is 1, the halves add up. */
FUNCTION u32 modulo_prime(u64 x) {
    u32 sum = (u32)(x & 0x7FFFFFFFul) + (u32)(x >> 31);
    return sum >= 0x7FFFFFFFu ? sum - 0x7FFFFFFFu : sum;
}

FUNCTION void rng_seed(Rng *g, u64 seed) {
    g->s = modulo_prime(seed & 0xFFFFFFFFul);
#ifdef MINSTD
    if (g->s == 0) g->s = 1;
#endif
}

FUNCTION void rng_leap(Rng *g, State a, State c) { g->s = modulo_prime((u64)g->s * a + c); }

FUNCTION u32 rng_output(const Rng *g) { return g->s; }

#elif defined(ANSI_C) || defined(MSVC_RAND)

typedef struct { u32 s; } Rng;
typedef u32 State;

FUNCTION void rng_seed(Rng *g, u64 seed) { g->s = (u32)seed; }

FUNCTION void rng_leap(Rng *g, State a, State c) { g->s = g->s * a + c; }

FUNCTION u32 rng_output(const Rng *g) {
#ifdef ANSI_C
    return g->s & 0x7FFFFFFFu;
#else
    return g->s >> 16 & 0x7FFFu;
#endif
}

#elif defined(JAVA_LCG)

/* The 48 bits stand at the top of 64, where the reduction comes by itself. */
typedef struct { u64 s; } Rng;
typedef u64 State;

FUNCTION void rng_seed(Rng *g, u64 seed) { g->s = seed << 16; }

FUNCTION void rng_leap(Rng *g, State a, State c) { g->s = g->s * a + c; }

FUNCTION u32 rng_output(const Rng *g) { return (u32)(g->s >> 32); }

#else /* PCG32 and PCG32_SRANDOM: XSH-RR 64/32 of the state before the step. */

typedef struct { u64 s; } Rng;
typedef u64 State;

FUNCTION void rng_seed(Rng *g, u64 seed) {
#ifdef PCG32_SRANDOM
    /* pcg32_srandom_r with stream 54: from state 0 one step, add the seed, one step. */
    g->s = (seed + 109u) * 6364136223846793005ul + 109u;
#else
    g->s = seed;
#endif
}

FUNCTION void rng_leap(Rng *g, State a, State c) { g->s = g->s * a + c; }

FUNCTION u32 rng_output(const Rng *g) {
    return rotate_left_32((u32)((g->s >> 18 ^ g->s) >> 27), -(u32)(g->s >> 59));
}

#endif
