/* dispatch -- which rungs this processor can stand on, and the table for one of them. Nothing else asks CPUID. */
#include "kern/rungs.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const char *const names[KERN_ISA_COUNT] = { "ref", "avx2", "avx512", "amx", "neon", "dotprod" };

#if defined(__x86_64__)
/* The registers the kernel saves: bits of XCR0. */
static unsigned saved_state(void)
{
    unsigned a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6, TILE_STATE = 0x60000, HAS_AMX_TILE = 1 << 24, HAS_AMX_INT8 = 1 << 25 };

/* Tiles need the kernel's leave, and this rung's word is taken only after it gave the bits of the one below. */
static bool tiles_work(void)
{
    static _Atomic int known; /* 1 yes, 2 no: the check costs a millisecond and its answer does not change */
    if (!known) {
        struct kern_table below, tiles;
        kern_table_fill(&below, KERN_AVX512);
        kern_table_fill(&tiles, KERN_AMX);
        known = kern_amx_permit() && kern_products_agree(&below, &tiles) ? 1 : 2;
    }
    return known == 1;
}

static enum kern_isa best(enum kern_isa limit)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA) || !(c & bit_F16C))
        return KERN_REF;
    unsigned state = saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2) || (state & YMM_STATE) != YMM_STATE)
        return KERN_REF;
    /* AVX-512 without VNNI would need the long way round through 16-bit products: AVX2 serves it. */
    unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    if ((b & wanted) != wanted || !(c & bit_AVX512VNNI) || (state & ZMM_STATE) != ZMM_STATE)
        return KERN_AVX2;
    unsigned amx = HAS_AMX_TILE | HAS_AMX_INT8;
    if (limit < KERN_AMX || (d & amx) != amx || (state & TILE_STATE) != TILE_STATE || !tiles_work())
        return KERN_AVX512;
    return KERN_AMX;
}
#elif defined(__aarch64__)
static enum kern_isa best(enum kern_isa limit)
{
    if (limit < KERN_NEON) /* a rung of another machine */
        return KERN_REF;
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? KERN_DOTPROD : KERN_NEON;
}
#else
static enum kern_isa best(enum kern_isa limit)
{
    return KERN_REF;
}
#endif

enum kern_isa kern_isa_detect(enum kern_isa limit)
{
    enum kern_isa b = best(limit);
    return b < limit ? b : limit;
}

bool kern_isa_by_name(const char *name, enum kern_isa *out)
{
    for (int i = 0; i < KERN_ISA_COUNT; i++) {
        if (!strcmp(name, names[i])) {
            *out = (enum kern_isa)i;
            return true;
        }
    }
    return false;
}

void kern_table_fill(struct kern_table *t, enum kern_isa isa)
{
    *t = (struct kern_table){ .isa = isa, .name = names[isa] };
    kern_fill_vec_ref(t);
    kern_fill_matmul_ref(t);
    kern_fill_attn_ref(t);
#if defined(__x86_64__)
    if (isa >= KERN_AVX2) {
        kern_fill_vec_avx2(t);
        kern_fill_matmul_avx2(t);
        kern_fill_attn_avx2(t);
    }
    if (isa >= KERN_AVX512) {
        kern_fill_vec_avx512(t);
        kern_fill_matmul_avx512(t);
        kern_fill_attn_avx512(t);
    }
    if (isa >= KERN_AMX)
        kern_fill_matmul_amx(t);
#elif defined(__aarch64__)
    if (isa >= KERN_NEON) {
        kern_fill_vec_neon(t);
        kern_fill_matmul_neon(t);
        kern_fill_attn_neon(t);
    }
    if (isa >= KERN_DOTPROD)
        kern_fill_matmul_dotprod(t);
#endif
}
