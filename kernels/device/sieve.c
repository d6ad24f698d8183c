/* The sieve in two kernels. `filter` puts a necessary condition to every seed of a launch and
   queues the few that meet it; `examine` counts the near misses among those exactly, and lists
   which of them survive. Both name a seed by its place in the launch. */

/* Words of `totals`: how long the two lists would be, had they no end. */
#define QUEUED 0
#define FOUND 1

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

FUNCTION u64 seed_at(u64 first, GLOBAL const u64 *list, u32 place) {
#ifdef LISTED
    return list[place];
#else
    return first + place;
#endif
}

KERNEL filter(u64 first, u32 count, GLOBAL const u64 *list, TABLE tables, GLOBAL u32 *totals,
              GLOBAL u32 *queue) {
    u64 place = item() * SEEDS;
#pragma unroll 1
    for (u32 turn = 0; turn < SEEDS; turn++, place++) {
        if (place >= count) return;
        if (passes(seed_at(first, list, (u32)place), tables)) {
            u32 entry = reserve(totals + QUEUED);
            if (entry < QUEUE_LENGTH) queue[entry] = (u32)place;
        }
    }
}

/* Each item leaves in `sums` the count and the sum of splitmix64 of the near misses that it saw,
   and the same for those of them that lie in the probe. */
KERNEL examine(u64 first, GLOBAL const u64 *list, TABLE tables, u32 probe_first, u32 probe_count,
               GLOBAL u32 *totals, GLOBAL const u32 *queue, GLOBAL u32 *found, GLOBAL u64 *sums) {
    u32 queued = totals[QUEUED] < QUEUE_LENGTH ? totals[QUEUED] : QUEUE_LENGTH;
    u64 count = 0, sum = 0, probe_seen = 0, probe_sum = 0;
    for (u32 entry = (u32)item(); entry < queued; entry += items()) {
        u32 place = queue[entry];
        u64 seed = seed_at(first, list, place);
        if (!reaches(seed, tables + NEAR_AT, NEAR_LEAST)) continue;
        u64 mixed = splitmix64(seed);
        count++;
        sum += mixed;
        if (place - probe_first < probe_count) {
            probe_seen++;
            probe_sum += mixed;
        }
        if (!reaches(seed, tables + WHOLE_AT, WHOLE_LEAST)) continue;
#ifdef REVERSE_AT
        if (!reaches(seed, tables + REVERSE_AT, REVERSE_LEAST)) continue;
#endif
        u32 listed = reserve(totals + FOUND);
        if (listed < FOUND_LENGTH) found[listed] = place;
    }
    sums += item() * 4;
    sums[0] = count;
    sums[1] = sum;
    sums[2] = probe_seen;
    sums[3] = probe_sum;
}
