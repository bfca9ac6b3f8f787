/* test -- the whole test framework: checks that say what they saw, and a main that runs them all. */
#ifndef TEST_H
#define TEST_H
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int test_failures, test_count;
static const char *test_skip; /* set by SKIP inside a test */

#define CHECK(cond) \
    do { if (!(cond)) { printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond); test_failures++; } } while (0)
#define CHECK_INT(got, want) \
    do { intmax_t g_ = (got), w_ = (want); if (g_ != w_) { \
        printf("# %s:%d: %s is %" PRIdMAX ", not %" PRIdMAX "\n", __FILE__, __LINE__, #got, g_, w_); \
        test_failures++; } } while (0)
#define CHECK_STR(got, want) \
    do { const char *g_ = (got), *w_ = (want); if (!g_ || strcmp(g_, w_)) { \
        printf("# %s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #got, g_ ? g_ : "(null)", w_); \
        test_failures++; } } while (0)
#define CHECK_NEAR(got, want, tol) \
    do { double g_ = (got), w_ = (want); if (!(fabs(g_ - w_) <= (tol))) { \
        printf("# %s:%d: %s is %.9g, not %.9g +- %g\n", __FILE__, __LINE__, #got, g_, w_, (double)(tol)); \
        test_failures++; } } while (0)

/* Inside a test: says why it cannot run here and leaves it. */
#define SKIP(why) do { test_skip = (why); return; } while (0)

#define RUN(fn) \
    do { int before_ = test_failures; test_skip = NULL; fn(); \
         printf("%s %d - %s%s%s\n", before_ == test_failures ? "ok" : "not ok", ++test_count, #fn, \
                test_skip ? " # SKIP " : "", test_skip ? test_skip : ""); fflush(stdout); } while (0)
#define DONE() return printf("1..%d\n", test_count), test_failures ? 1 : 0
#endif
