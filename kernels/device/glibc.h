/* glibc's random() with its default state: additive feedback over 31 words. */

typedef struct { u32 words[31], at; } Rng;

FUNCTION u32 modulo_prime(u64 x) {
    u32 sum = (u32)(x & 0x7FFFFFFFul) + (u32)(x >> 31);
    return sum >= 0x7FFFFFFFu ? sum - 0x7FFFFFFFu : sum;
}

FUNCTION u32 glibc_step(Rng *g) {
    u32 at = g->at;
    u32 sum = g->words[at] + g->words[at < 3 ? at + 28 : at - 3];
    g->words[at] = sum;
    g->at = at == 30 ? 0 : at + 1;
    return sum;
}

FUNCTION void rng_seed(Rng *g, u64 seed) {
    u32 first = (u32)seed == 0 ? 1 : (u32)seed;
    g->words[0] = first;
    /* srandom_r reads the seed as a signed number; -2^31 is -1 modulo the prime. */
    u64 word = first >> 31 ? (u64)(first & 0x7FFFFFFFu) + 0x7FFFFFFEul : first;
    word = modulo_prime(word);
    for (u32 slot = 1; slot < 31; slot++) {
        word = modulo_prime(word * 16807);
        g->words[slot] = (u32)word;
    }
    /* srandom throws away ten outputs for each word. */
    g->at = 3;
    for (u32 discarded = 0; discarded < 310; discarded++) glibc_step(g);
}

FUNCTION u32 rng_next(Rng *g) { return glibc_step(g) >> 1; }

FUNCTION void rng_pass(Rng *g) { glibc_step(g); }
