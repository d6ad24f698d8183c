/* Generators of several 64-bit words: xoshiro256++ and sfc64. */

#ifdef SFC64

typedef struct { u64 a, b, c, counter; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) {
    g->a = seed;
    g->b = 0x9E3779B97F4A7C15ul;
    g->c = 0x6A09E667F3BCC908ul;
    g->counter = 1;
}

FUNCTION u64 rng_next(Rng *g) {
    u64 out = g->a + g->b + g->counter++;
    g->a = g->b ^ g->b >> 11;
    g->b = g->c + (g->c << 3);
    g->c = rotate_left_64(g->c, 24) + out;
    return out;
}

#else /* XOSHIRO256PP and XOSHIRO256PP_SPLITMIX */

typedef struct { u64 s0, s1, s2, s3; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) {
#ifdef XOSHIRO256PP
    g->s0 = seed;
    g->s1 = 0x9E3779B97F4A7C15ul;
    g->s2 = 0x6A09E667F3BCC908ul;
    g->s3 = 0xBB67AE8584CAA73Bul;
#else
    g->s0 = splitmix64(seed);
    g->s1 = splitmix64(seed + 0x9E3779B97F4A7C15ul);
    g->s2 = splitmix64(seed + 2 * 0x9E3779B97F4A7C15ul);
    g->s3 = splitmix64(seed + 3 * 0x9E3779B97F4A7C15ul);
#endif
}

FUNCTION u64 rng_next(Rng *g) {
    u64 out = rotate_left_64(g->s0 + g->s3, 23) + g->s0;
    u64 t = g->s1 << 17;
    g->s2 ^= g->s0;
    g->s3 ^= g->s1;
    g->s1 ^= g->s2;
    g->s0 ^= g->s3;
    g->s2 ^= t;
    g->s3 = rotate_left_64(g->s3, 45);
    return out;
}

#endif

FUNCTION void rng_pass(Rng *g) { rng_next(g); }
