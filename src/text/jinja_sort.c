/* jinja_sort -- a stable merge sort of values by Python's `<`, whose comparisons may fail and are counted. */
#include "text/jinja_run.h"

#include <string.h>

/* Merges the runs a = [0, na) and b = [na, n) of order into tmp and back. */
static bool merge(struct jrun *r, const struct jv *keys, uint32_t *order, uint32_t *tmp, size_t na, size_t n,
                  bool reverse)
{
    size_t a = 0, b = na, k = 0;
    while (a < na && b < n) {
        struct jv left = keys[order[a]], right = keys[order[b]];
        int right_first = reverse ? jv_less(r, left, right, '<') : jv_less(r, right, left, '<');
        if (right_first < 0)
            return false;
        tmp[k++] = right_first ? order[b++] : order[a++];
    }
    while (a < na)
        tmp[k++] = order[a++];
    while (b < n)
        tmp[k++] = order[b++];
    memcpy(order, tmp, n * sizeof *order);
    return true;
}

bool jsort(struct jrun *r, const struct jv *keys, size_t n, bool reverse, uint32_t *order)
{
    uint32_t *tmp = jalloc(r, n + 1, sizeof *tmp);
    if (!tmp || n > UINT32_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t width = 1; width < n; width *= 2)
        for (size_t at = 0; at + width < n; at += 2 * width) {
            size_t len = n - at < 2 * width ? n - at : 2 * width;
            if (!merge(r, keys, order + at, tmp, width, len, reverse))
                return false;
        }
    return !r->failed;
}
