/* charge -- see charge.h. */
#include "ledger/charge.h"

enum { WORK_MAX = 1 << 30 }; /* tokens in one interval, far above any machine: keeps the products in 64 bits */

void charge_work(struct charge_pool *p, struct charge *c, int64_t tokens)
{
    if (tokens <= 0 || tokens > WORK_MAX - p->work)
        return;
    c->work += tokens;
    p->work += tokens;
}

int64_t charge_end(struct charge_pool *p, struct charge *c)
{
    int64_t ahead = (int64_t)((double)c->work * p->mj_per_work);
    c->mj += ahead;
    c->modelled |= ahead && p->modelled;
    p->prepaid_mj += ahead;
    c->work = 0;
    return c->mj;
}

void charge_reading(struct charge_pool *p, struct charge **running, int n, int64_t mj, bool modelled)
{
    int64_t running_work = 0, done = 0, given = 0, rest = mj - p->prepaid_mj;
    for (int i = 0; i < n; i++)
        running_work += running[i]->work;
    if (p->work)
        p->mj_per_work = (double)mj / (double)p->work;
    p->modelled = modelled;
    p->prepaid_mj = rest < 0 ? -rest : 0;
    rest = rest < 0 ? 0 : rest;
    if (!running_work) {
        p->idle_mj += rest;
        rest = 0;
    }
    for (int i = 0; i < n && rest; i++) { /* each part ends where the exact share of all so far ends */
        done += running[i]->work;
        int64_t end = rest / running_work * done + rest % running_work * done / running_work;
        running[i]->mj += end - given;
        running[i]->modelled |= modelled && running[i]->work;
        given = end;
    }
    for (int i = 0; i < n; i++)
        running[i]->work = 0;
    p->work = 0;
}
