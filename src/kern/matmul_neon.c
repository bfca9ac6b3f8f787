/* matmul_neon -- int8 activations against 16-row panels on any ARMv8: see matmul_neon.h. */
#include "kern/matmul_neon.h"

void kern_fill_matmul_neon(struct kern_table *t)
{
    t->matmul = matmul;
}
