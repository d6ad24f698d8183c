/* Small arithmetic that every family may use. */

FUNCTION u32 rotate_left_32(u32 x, u32 by) { return x << (by & 31) | x >> (-by & 31); }

FUNCTION u64 rotate_left_64(u64 x, u32 by) { return x << (by & 63) | x >> (-by & 63); }

/* The first output of splitmix64 seeded with x (Steele, Lea and Flood, OOPSLA 2014). */
FUNCTION u64 splitmix64(u64 x) {
    x += 0x9E3779B97F4A7C15ul;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ul;
    x = (x ^ x >> 27) * 0x94D049BB133111EBul;
    return x ^ x >> 31;
}

/* Residues modulo a number that is known when this is compiled, so that no division is left: the
   compiler multiplies by the inverse, once for each output however many draws it is compared
   with. Outputs of 64 bits are brought below 2^32 first where the modulus allows it: below
   2^32 m, then below 2^31 + 2 m^2 <= 2^32. */
FUNCTION u32 residue_32(u32 x) { return x % MODULUS; }

FUNCTION u32 residue_64(u64 x) {
#if MODULUS <= 32768u
    u64 once = (x >> 32) * (u32)((1ul << 32) % MODULUS) + (x & 0xFFFFFFFFul);
    u32 twice = (u32)(once >> 31) * (u32)((1ul << 31) % MODULUS) + (u32)(once & 0x7FFFFFFFul);
    return twice % MODULUS;
#else
    return (u32)(x % MODULUS);
#endif
}
