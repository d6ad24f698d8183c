import java.util.Random;

/**
 * Prints forty draws below 1000 of a generator that draws twice a round and shows only the second:
 * to a sieve, draws at skip 1 (one output burned before each draw).
 *
 * <p>Run it with {@code java Draws.java > draws.txt}.
 */
class Draws {
    private static final long SEED = 3_405_691_582L;

    public static void main(String[] arguments) {
        System.out.println("# java Draws.java: java.util.Random(seed).nextInt(1000), every second one");
        Random random = new Random(SEED);
        for (int i = 0; i < 40; i++) {
            random.nextInt(1000);
            System.out.println(random.nextInt(1000));
        }
    }
}
