/* console -- the console's files. */
#include "front/front_impl.h"
void answer_console(struct front *f, struct http_exchange *x, const struct route *r)
{
    answer_unknown(f, x, r);
}
