/* crew -- see crew.h. */
#include "base/crew.h"

#include "base/assert.h"

#define MS ((int64_t)1000000)
enum { WORTH_PERCENT = 90 }; /* of what fewer would get done: less is a reason to let fewer do it */
static const int64_t window_ns = 20 * MS, rest_least_ns = 100 * MS, rest_most_ns = 1600 * MS;

void crew_init(struct crew *c, int full)
{
    ASSERT(full >= 1);
    *c = (struct crew){ .full = full, .size = full, .rest_ns = rest_least_ns };
}

static void start_window(struct crew *c)
{
    c->useful_ns = c->wall_ns = 0;
    c->robbed = 0;
}

int crew_size(struct crew *c, int64_t now_ns)
{
    if (c->size < c->full && now_ns >= c->until_ns) {
        c->size = c->full;
        start_window(c);
    }
    return c->size;
}

void crew_note(struct crew *c, const struct crew_run *r)
{
    c->useful_ns += r->useful_ns;
    c->wall_ns += r->wall_ns;
    c->robbed = r->robbed > c->robbed ? r->robbed : c->robbed;
    if (c->wall_ns < window_ns || c->full == 1)
        return;
    int fewer = c->size - c->robbed > 1 ? c->size - c->robbed : 1;
    if (fewer < c->size && c->useful_ns < c->wall_ns / 100 * WORTH_PERCENT * fewer) {
        if (c->size == c->full) {
            c->until_ns = r->now_ns + c->rest_ns;
            c->rest_ns = 2 * c->rest_ns < rest_most_ns ? 2 * c->rest_ns : rest_most_ns;
        }
        c->size = fewer;
    } else if (c->size == c->full) {
        c->rest_ns = c->rest_ns / 2 > rest_least_ns ? c->rest_ns / 2 : rest_least_ns;
    }
    start_window(c);
}
