/* unroll -- UNROLL(n) before a loop over registers: without it the compiler keeps the array in memory.
 *
 * Sanitizer builds leave the loops rolled: the same source, a tenth of the compiling. */
#ifndef KERN_UNROLL_H
#define KERN_UNROLL_H
#define UNROLL_PRAGMA(text) _Pragma(#text)
#ifdef TW_SANITIZED
#define UNROLL(n)
#else
#define UNROLL(n) UNROLL_PRAGMA(GCC unroll n)
#endif
#endif
