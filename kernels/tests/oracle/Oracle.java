// java.util.Random and the JDK's xoshiro256++, as lines "family modulus seed outputs…".
// Run with --add-modules jdk.random --add-exports jdk.random/jdk.random=ALL-UNNAMED.

import java.util.Random;
import java.util.SplittableRandom;
import jdk.random.Xoshiro256PlusPlus;

public class Oracle {
    /** Counts the steps that the generator makes. */
    static class Counting extends Random {
        int steps;

        Counting(long seed) {
            super(seed);
        }

        @Override
        protected int next(int bits) {
            steps++;
            return super.next(bits);
        }
    }

    static void random(long seed, int bound) {
        Random random = new Random(seed);
        StringBuilder line = new StringBuilder("java_random " + bound + " " + seed);
        for (int i = 0; i < 40; i++) line.append(' ').append(random.nextInt(bound));
        System.out.println(line);
    }

    public static void main(String[] args) {
        long[] seeds = {0, 1, 42, 1234567890L, (1L << 48) - 1, 0x5DEECE66DL};
        int[] bounds = {1000, 1 << 10, 1 << 30, (1 << 30) + 1, 6, Integer.MAX_VALUE, 2};
        for (int bound : bounds) for (long seed : seeds) random(seed, bound);
        // Seeds with a rejection among their first forty calls, rare for a bound of 1000.
        int found = 0;
        for (long seed = 1000; found < 5; seed++) {
            Counting counting = new Counting(seed);
            for (int i = 0; i < 40; i++) counting.nextInt(1000);
            if (counting.steps > 40) {
                random(seed, 1000);
                found++;
            }
        }
        for (long seed : new long[] {0, 1, 42, -1, 1L << 63}) {
            // splitmix64 is SplittableRandom with its default gamma.
            SplittableRandom mix = new SplittableRandom(seed);
            Xoshiro256PlusPlus random = new Xoshiro256PlusPlus(
                mix.nextLong(), mix.nextLong(), mix.nextLong(), mix.nextLong());
            StringBuilder line =
                new StringBuilder("xoshiro256pp_splitmix 1000 " + Long.toUnsignedString(seed));
            for (int i = 0; i < 40; i++)
                line.append(' ').append(Long.toUnsignedString(random.nextLong()));
            System.out.println(line);
        }
    }
}
