/* The Mersenne twister as C++, PHP and Python seed it. */

FUNCTION u32 mersenne_next_word(u32 word, u32 index) {
    return (word ^ word >> 30) * 1812433253u + index;
}

FUNCTION u32 mersenne_mix(u32 word, u32 next) {
    u32 y = (word & 0x80000000u) | (next & 0x7FFFFFFFu);
    return y >> 1 ^ (y & 1 ? 0x9908B0DFu : 0);
}

FUNCTION u32 mersenne_temper(u32 y) {
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680u;
    y ^= y << 15 & 0xEFC60000u;
    y ^= y >> 18;
#ifdef PHP_MT_RAND
    return y >> 1;
#else
    return y;
#endif
}

/* With all state words, of which the first `filled` are initialised. */
typedef struct { u32 words[624], filled, at; } Rng;

FUNCTION void rng_seed(Rng *g, u64 seed) {
    g->at = 0;
#ifdef PYTHON_RANDOM
    /* init_by_array with the number's 32-bit words, low first; one word below 2^32. */
    u32 low = (u32)seed;
    u32 other = seed >> 32 == 0 ? low : (u32)(seed >> 32) + 1;
    u32 start = 19650218u, word = start, second = start;
    for (u32 index = 1; index < 624; index++) {
        start = mersenne_next_word(start, index);
        word = ((word ^ word >> 30) * 1664525u ^ start) + (index & 1 ? low : other);
        g->words[index] = word;
    }
    /* The 624th step: word 0 takes the last word's value, word 1 its second turn. */
    word = ((word ^ word >> 30) * 1664525u ^ g->words[1]) + other;
    second = word;
    for (u32 index = 2; index < 624; index++) {
        word = ((word ^ word >> 30) * 1566083941u ^ g->words[index]) - index;
        g->words[index] = word;
    }
    g->words[1] = ((word ^ word >> 30) * 1566083941u ^ second) - 1;
    g->words[0] = 0x80000000u;
    g->filled = 624;
#else
    g->words[0] = (u32)seed;
    g->filled = 1;
#endif
}

FUNCTION u32 mersenne_twist(Rng *g) {
    u32 at = g->at, next = at == 623 ? 0 : at + 1;
    while (g->filled < 624 && g->filled <= at + 397) {
        g->words[g->filled] = mersenne_next_word(g->words[g->filled - 1], g->filled);
        g->filled++;
    }
    u32 word = g->words[at < 227 ? at + 397 : at - 227] ^ mersenne_mix(g->words[at], g->words[next]);
    g->words[at] = word;
    g->at = next;
    return word;
}

FUNCTION u32 rng_next(Rng *g) { return mersenne_temper(mersenne_twist(g)); }

FUNCTION void rng_pass(Rng *g) { mersenne_twist(g); }

#if defined(STRAIGHT) && !defined(PYTHON_RANDOM) && LAST_POSITION < 623
/* Without a state array: the initial words are a recurrence of one word, so copies of it run along
   at the places that an output needs. Twisted word p is made of the initial words p and p + 1 and
   of word p + 397, which from p = 227 on is itself twisted word p - 227. */

#define QUICK
typedef struct { u32 p, seed, middle, a, b, c, d, e; } Quick;

FUNCTION void quick_seed(Quick *g, u64 seed) {
    u32 word = g->seed = g->a = (u32)seed;
    for (u32 index = 1; index <= 397; index++) word = mersenne_next_word(word, index);
    g->middle = g->b = word;
    g->c = g->d = g->e = 0;
    g->p = 0;
}

/* Moves a copy on to `index`: how the word it leaves is mixed with that one. */
FUNCTION u32 mersenne_move(u32 *word, u32 index) {
    u32 before = *word;
    *word = mersenne_next_word(before, index);
    return mersenne_mix(before, *word);
}

FUNCTION u32 quick_twist(Quick *g) {
    u32 p = g->p++, far;
    if (p < 227) {
        /* b runs at p + 397. */
        far = g->b;
        g->b = mersenne_next_word(far, p + 398);
    } else if (p < 454) {
        /* c runs at p - 227, d at p + 170. */
        if (p == 227) {
            g->c = g->seed;
            g->d = g->middle;
            /* Computing the words again is cheaper than keeping hundreds of them. */
            OPAQUE(g->c, y);
            OPAQUE(g->d, y);
        }
        far = g->d ^ mersenne_move(&g->c, p - 226);
        g->d = mersenne_next_word(g->d, p + 171);
    } else {
        /* c runs on at p - 227, e at p - 454, d at p - 57. */
        if (p == 454) {
            g->e = g->seed;
            g->d = g->middle;
            OPAQUE(g->e, z);
            OPAQUE(g->d, z);
        }
        far = g->d ^ mersenne_move(&g->e, p - 453) ^ mersenne_move(&g->c, p - 226);
        g->d = mersenne_next_word(g->d, p - 56);
    }
    return far ^ mersenne_move(&g->a, p + 1);
}

FUNCTION u32 quick_next(Quick *g) { return mersenne_temper(quick_twist(g)); }

FUNCTION void quick_pass(Quick *g) { quick_twist(g); }

#endif
