/* Variable skips: strategies that look for each draw around the gap before the last one. A walk
   only goes forward, so each strategy runs through the stream by itself and keeps one output. Which
   strategy is the best, and its skips, is counted again on the host. */

/* A stream with the output at which it stands. */
typedef struct { Rng g; u32 output; } Stream;

FUNCTION void stream_step(Stream *s) {
#ifdef AFFINE
    s->output = RESIDUE(rng_output(&s->g));
    rng_leap(&s->g, (State)STEP_A, (State)STEP_C);
#else
    s->output = RESIDUE(rng_next(&s->g));
#endif
}

FUNCTION void stream_pass(Stream *s) {
#ifdef AFFINE
    rng_leap(&s->g, (State)STEP_A, (State)STEP_C);
#else
    rng_pass(&s->g);
#endif
}

/* Stands before the first output that counts. */
FUNCTION void stream_start(Stream *s, u64 seed) {
    rng_seed(&s->g, seed);
    s->output = 0;
#ifdef AFFINE
    rng_leap(&s->g, (State)START_A, (State)START_C);
#else
    for (u32 passed = 0; passed < ADVANCE; passed++) rng_pass(&s->g);
#endif
}

/* Whether a strategy has `least` matches. Positions count from the first output that may be looked
   at; `at` is the output after the one that the stream stands at. */
SELDOM int walk(u64 seed, TABLE draws, u32 max_misses, u32 tolerance, u32 least) {
    Stream s;
    stream_start(&s, seed);
    u32 at = 0, cursor = 0, expected = 5, misses = 0, matches = 0;
    for (u32 draw = 0; draw < WINDOW; draw++) {
        if (matches >= least) return 1;
        if (matches + (WINDOW - draw) < least) return 0;
        u32 wanted = draws[draw];
        u32 gap = expected > tolerance ? expected - tolerance : 0;
        u32 last = expected + tolerance;
        /* After a miss the output at which the stream stands may be looked at again. */
        if (cursor + gap >= at) {
            for (; at < cursor + gap; at++) stream_pass(&s);
            stream_step(&s);
            at++;
        }
        while (s.output != wanted && gap < last) {
            stream_step(&s);
            at++;
            gap++;
        }
        if (s.output == wanted) {
            matches++;
            misses = 0;
            expected = gap;
            cursor += gap + 1;
        } else {
            cursor += last;
            if (++misses >= max_misses) break;
        }
    }
    return matches >= least;
}

/* Whether some strategy has `least` matches; what strategy 0 finds, strategy 2 finds as well. */
FUNCTION int some_strategy(u64 seed, TABLE draws, u32 least) {
    return walk(seed, draws, 5, 5, least) || walk(seed, draws, 7, 10, least)
        || walk(seed, draws, 10, 20, least) || walk(seed, draws, 20, 50, least);
}

FUNCTION int near_miss(u64 seed, TABLE tables) {
    return walk(seed, tables + NEAR_AT, 3, 5, NEAR_LEAST);
}

FUNCTION int survives(u64 seed, TABLE tables) {
    return some_strategy(seed, tables + WHOLE_AT, WHOLE_LEAST)
#ifdef REVERSE_AT
        && some_strategy(seed, tables + REVERSE_AT, REVERSE_LEAST)
#endif
        ;
}

FUNCTION int passes(u64 seed, TABLE tables) {
    return near_miss(seed, tables) || survives(seed, tables);
}
