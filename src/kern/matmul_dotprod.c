/* matmul_dotprod -- the same with the dot product instructions (ARMv8.2): see matmul_neon.h. */
#include "kern/matmul_neon.h"

void kern_fill_matmul_dotprod(struct kern_table *t)
{
    t->matmul = matmul;
}
