/* Philox 4x32-10: a counter run through ten rounds. With the counter known when this is compiled,
   most of the first two rounds is constant. */

typedef struct { u32 k0, k1, position, held, words[4]; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) {
    g->k0 = (u32)seed;
    g->k1 = (u32)(seed >> 32);
    g->position = 0;
    /* No block of the stream has this number: positions end far below 2^32. */
    g->held = 0xFFFFFFFFu;
}

FUNCTION void philox_block(Rng *g, u32 number) {
    u32 x0 = number, x1 = 0, x2 = 0, x3 = 0, k0 = g->k0, k1 = g->k1;
#pragma unroll
    for (u32 turn = 0; turn < 10; turn++) {
        u32 high0 = high_product(x0, 0xD2511F53u), low0 = x0 * 0xD2511F53u;
        u32 high2 = high_product(x2, 0xCD9E8D57u), low2 = x2 * 0xCD9E8D57u;
        x0 = high2 ^ x1 ^ k0;
        x1 = low2;
        x2 = high0 ^ x3 ^ k1;
        x3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    g->words[0] = x0;
    g->words[1] = x1;
    g->words[2] = x2;
    g->words[3] = x3;
}

FUNCTION u32 rng_next(Rng *g) {
    u32 position = g->position++;
#ifdef PHILOX4X32
    philox_block(g, position);
    return g->words[0];
#else
    if (g->held != position >> 2) {
        g->held = position >> 2;
        philox_block(g, g->held);
    }
    u32 word = position & 3;
    return word < 2 ? (word == 0 ? g->words[0] : g->words[1])
                    : (word == 2 ? g->words[2] : g->words[3]);
#endif
}

FUNCTION void rng_pass(Rng *g) { g->position++; }
