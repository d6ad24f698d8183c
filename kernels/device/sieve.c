/* The sieve in two kernels. `filter` puts a necessary condition to every seed of a launch (`passes`
   of fixed.c or variable.c, or written out) and queues the few that meet it; `examine` counts the
   near misses among those exactly, and lists which of them survive. Both name a seed by its place
   in the launch. */

/* Words of `totals`: how long the two lists would be, had they no end. */
#define QUEUED 0
#define FOUND 1

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
        if (near_miss(seed, tables)) {
            u64 mixed = splitmix64(seed);
            count++;
            sum += mixed;
            if (place - probe_first < probe_count) {
                probe_seen++;
                probe_sum += mixed;
            }
        }
#ifndef VARIABLE
        else continue;
#endif
        if (!survives(seed, tables)) continue;
        u32 listed = reserve(totals + FOUND);
        if (listed < FOUND_LENGTH) found[listed] = place;
    }
    sums += item() * 4;
    sums[0] = count;
    sums[1] = sum;
    sums[2] = probe_seen;
    sums[3] = probe_sum;
}
