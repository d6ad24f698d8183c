// libstdc++'s <random> and glibc's random(), as lines "family modulus seed outputs…".

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

template <class Next>
void line(const char *family, uint32_t seed, int count, Next next) {
    std::printf("%s 1000 %u", family, seed);
    for (int i = 0; i < count; i++) std::printf(" %u", static_cast<uint32_t>(next()));
    std::printf("\n");
}

int main() {
    const uint32_t seeds[] = {0, 1, 42, 1234567890, 2147483646, 2147483647, 2147483648,
                              2147483649, 4294967294, 4294967295};
    for (uint32_t seed : seeds) {
        line("minstd", seed, 40, std::minstd_rand(seed));
        line("minstd_rand0", seed, 40, std::minstd_rand0(seed));
        line("mt19937", seed, seed == 42 ? 1300 : 40, std::mt19937(seed));
        char large[128];
        initstate(1, large, sizeof large);
        srandom(seed);
        line("glibc_random", seed, 100, random);
        // With 8 bytes of state random() is TYPE_0; its srandom makes 1 of 0, the family does not.
        char small[8];
        if (seed != 0) {
            initstate(1, small, sizeof small);
            srandom(seed);
            line("ansi_c", seed, 40, random);
        }
    }
}
