/* version -- tokenworks version: what was built. */
#include "cmd/cmd.h"

#include "base/pool.h"
#include "kern/kern.h"

#include <stdio.h>

#ifdef __clang__
#define COMPILER "clang"
#else
#define COMPILER "gcc"
#endif

static const struct opt rows[] = { { 0 } };
const struct opt_command cmd_version_spec = {
    "version", "", "print the version, the processor features in use and the floors compiled in", NULL, rows,
};

int cmd_version(int argc, char **argv)
{
    int positional;
    enum opt_result r = opt_parse(&cmd_version_spec, argc, argv, NULL, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    struct kern_table best;
    kern_table_fill(&best, kern_isa_detect(KERN_ISA_COUNT));
    puts("tokenworks " TW_VERSION);
    printf("compiler   %s %s\n", COMPILER, __VERSION__);
    printf("kernels    %s (of ref, avx2, avx512, amx; --isa caps it)\n", best.name);
    printf("threads    %d\n", pool_default_threads());
    puts("floors     " TW_FLOORS);
#ifdef TW_SANITIZED
    puts("sanitizers on; the seccomp filter is left out of this build");
#endif
    return 0;
}
