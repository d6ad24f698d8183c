/* Fixed skips: one for the whole window. */

/* Whether some skip has `least` matches among a table's draws. A table is its number of rows, and
   for each position that is wanted a row: how to get there, how many draws are compared with it,
   and of each draw its residue and the number of its skip. */
SELDOM int reaches(u64 seed, TABLE table, u32 least) {
    u32 counts[SKIPS];
    for (u32 skip = 0; skip < SKIPS; skip++) counts[skip] = 0;
    Rng g;
    rng_seed(&g, seed);
    for (u32 rows = *table++; rows > 0; rows--) {
#ifdef AFFINE
        State a = table[0] | (State)((u64)table[1] << 32);
        State c = table[2] | (State)((u64)table[3] << 32);
        table += 4;
        rng_leap(&g, a, c);
        u32 found = RESIDUE(rng_output(&g));
#else
        for (u32 passed = *table++; passed > 0; passed--) rng_pass(&g);
        u32 found = RESIDUE(rng_next(&g));
#endif
        for (u32 pairs = *table++; pairs > 0; pairs--, table += 2) {
            if (table[0] == found && ++counts[table[1]] >= least) return 1;
        }
    }
    return 0;
}

#ifndef STRAIGHT
/* The necessary condition; STRAIGHT plans bring theirs written out. */
FUNCTION int passes(u64 seed, TABLE tables) { return reaches(seed, tables + FIRST_AT, FIRST_LEAST); }
#endif

FUNCTION int near_miss(u64 seed, TABLE tables) { return reaches(seed, tables + NEAR_AT, NEAR_LEAST); }

/* Of a near miss. */
FUNCTION int survives(u64 seed, TABLE tables) {
    return reaches(seed, tables + WHOLE_AT, WHOLE_LEAST)
#ifdef REVERSE_AT
        && reaches(seed, tables + REVERSE_AT, REVERSE_LEAST)
#endif
        ;
}
