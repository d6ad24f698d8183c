/* The generator of straight plans, where a family has no quicker one for them. */

#ifndef QUICK
#define Quick Rng
#define quick_seed rng_seed
#define quick_next rng_next
#define quick_pass rng_pass
#endif
