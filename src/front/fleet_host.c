/* fleet_host -- see fleet.h: the worker's side. */
#include "front/fleet_impl.h"

enum err_code host_open(struct front_fleet *t, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "this build has no worker");
}

void host_close(struct front_fleet *t)
{
}

void front_fleet_drain(struct front_fleet *t)
{
}

int front_fleet_busy(const struct front_fleet *t)
{
    return 0;
}

void front_fleet_give_back(struct front_fleet *t)
{
}
