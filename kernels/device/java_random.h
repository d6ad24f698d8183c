/* new Random(seed).nextInt(modulus): an output is one call, however many steps it takes. */

typedef struct { u64 s; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) { g->s = (seed ^ 0x5DEECE66Dul) << 16; }

FUNCTION u32 rng_next(Rng *g) {
    u32 bits;
    /* 31-bit values past the last whole multiple of the bound are rejected. */
    do {
        g->s = g->s * 0x5DEECE66Dul + (11ul << 16);
        bits = (u32)(g->s >> 33);
    } while (bits >= 0x80000000u / MODULUS * MODULUS);
#if (MODULUS & (MODULUS - 1)) == 0
    /* A power of two takes the highest bits. */
    bits >>= 31 - MODULUS_TWOS;
#endif
    return bits;
}

FUNCTION void rng_pass(Rng *g) { rng_next(g); }
