/* emulated_amx -- matmul_amx over tiles in plain C: proves the rung's loops where the processor has no tiles. */
#define KERN_AMX_EMULATED
#include "kern/matmul_amx.c"
