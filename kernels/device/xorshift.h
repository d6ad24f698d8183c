/* Marsaglia's xorshift generators and Vigna's multiplied ones. */

#if defined(XORSHIFT32)

typedef struct { u32 s; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) { g->s = (u32)seed; }

FUNCTION u32 rng_next(Rng *g) {
    u32 s = g->s;
    s ^= s << 13;
    s ^= s >> 17;
    s ^= s << 5;
    return g->s = s;
}

#elif defined(XORSHIFT128)

typedef struct { u32 x, y, z, w; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) {
    g->x = (u32)seed;
    g->y = 362436069u;
    g->z = 521288629u;
    g->w = 88675123u;
}

FUNCTION u32 rng_next(Rng *g) {
    u32 t = g->x ^ g->x << 11;
    u32 w = g->w ^ g->w >> 19 ^ t ^ t >> 8;
    g->x = g->y;
    g->y = g->z;
    g->z = g->w;
    return g->w = w;
}

#else /* XORSHIFT64, which keeps the product in its state, and XORSHIFT64STAR. */

typedef struct { u64 s; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) { g->s = seed; }

FUNCTION u64 rng_next(Rng *g) {
    u64 s = g->s;
    s ^= s >> 12;
    s ^= s << 25;
    s ^= s >> 27;
    u64 product = s * 0x2545F4914F6CDD1Dul;
#ifdef XORSHIFT64
    g->s = product;
#else
    g->s = s;
#endif
    return product;
}

#endif

FUNCTION void rng_pass(Rng *g) { rng_next(g); }
