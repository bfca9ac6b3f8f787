/* prefix -- which prefix blocks an engine still holds: a bounded set with the least recently used forgotten.
 *
 * A block's id stands for the whole prefix up to it (a node of the prefix tree), so the cached part of a
 * prompt is the run of leading ids that are present. */
#ifndef PLAN_PREFIX_H
#define PLAN_PREFIX_H
#include <stdint.h>

struct prefix;
struct prefix *prefix_new(int capacity); /* blocks, >= 1 */
void prefix_free(struct prefix *p);
/* How many leading ids are held; then all are held, as most recently used. */
int prefix_touch(struct prefix *p, const int64_t *ids, int count);
#endif
