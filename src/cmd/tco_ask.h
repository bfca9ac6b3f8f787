/* tco_ask -- the question of `tokenworks tco`, from options or from the console's page, and what it stands for. */
#ifndef CMD_TCO_ASK_H
#define CMD_TCO_ASK_H
#include "base/err.h"
#include "plan/scenario.h"
#include "plan/tco.h"

struct tco_ask {
    const char *hardware, *model, *api; /* ids of the catalogue; api may be NULL */
    double units, price, uplift, life, discount, power_price, pue, utilisation, rate, staff, rent, maintenance, input,
        output, cached, cloud, itl;
    bool json;
};

extern const struct tco_ask tco_ask_defaults;
/* The catalogue's entries enter as a scenario of one machine, one model, one API. ERR_INVALID says what is missing. */
enum err_code tco_ask_figures(const struct tco_ask *o, struct tco_input *out, struct err *e);
#endif
