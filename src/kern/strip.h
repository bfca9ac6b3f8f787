/* strip -- one unit of a panel against a few rows of x, without opening it in memory first. Private to kern/. */
#ifndef KERN_STRIP_H
#define KERN_STRIP_H
#include "kern/pack.h"

enum { KERN_STRIP_ROWS = 8 };

struct kern_strip {
    enum kern_type type;
    const unsigned char *unit;
    const unsigned char *ahead;      /* what this stream reads soon, asked for meanwhile: ahead_step for each block; */
    const unsigned char *ahead_end;  /* from here on it goes on ahead_jump further */
    ptrdiff_t ahead_jump;
    int ahead_step;
    int blocks;                      /* in this unit */
    size_t at;                       /* block of x where the unit begins */
    const struct kern_act *const *x; /* [rows] */
    float *acc;                      /* [rows][16] */
};
typedef void kern_strip_fn(const struct kern_strip *a);

kern_strip_fn *kern_strip_avx512(enum kern_type type, int rows); /* 1 .. KERN_STRIP_ROWS */
kern_strip_fn *kern_strip_avx2(enum kern_type type, int rows);   /* 1 or 2 */
#endif
