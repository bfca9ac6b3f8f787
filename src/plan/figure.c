/* figure -- see figure.h. One table: a unit, what it measures, its factor to the base unit. */
#include "plan/figure.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum dim dim;
    const char *unit; /* the first of a dim is its base unit */
    double factor;
} units[] = {
    { DIM_RATIO, "1", 1 }, { DIM_RATIO, "%", 0.01 },
    { DIM_COUNT, "units", 1 }, { DIM_COUNT, "unit", 1 }, { DIM_COUNT, "1", 1 },
    { DIM_MONEY, "USD", 1 }, { DIM_MONEY, "kUSD", 1e3 }, { DIM_MONEY, "MUSD", 1e6 }, { DIM_MONEY, "BUSD", 1e9 },
    { DIM_MONEY, "EUR", 1 }, { DIM_MONEY, "kEUR", 1e3 }, { DIM_MONEY, "MEUR", 1e6 }, { DIM_MONEY, "BEUR", 1e9 },
    { DIM_MONEY_YEAR, "USD/y", 1 }, { DIM_MONEY_YEAR, "kUSD/y", 1e3 }, { DIM_MONEY_YEAR, "MUSD/y", 1e6 },
    { DIM_MONEY_YEAR, "EUR/y", 1 }, { DIM_MONEY_YEAR, "kEUR/y", 1e3 }, { DIM_MONEY_YEAR, "MEUR/y", 1e6 },
    { DIM_MONEY_HOUR, "USD/h", 1 }, { DIM_MONEY_HOUR, "EUR/h", 1 },
    { DIM_POWER, "W", 1 }, { DIM_POWER, "kW", 1e3 }, { DIM_POWER, "MW", 1e6 },
    { DIM_ENERGY_PRICE, "USD/kWh", 1 }, { DIM_ENERGY_PRICE, "USct/kWh", 0.01 }, { DIM_ENERGY_PRICE, "EUR/kWh", 1 },
    { DIM_ENERGY_PRICE, "EUR/100kWh", 0.01 }, { DIM_ENERGY_PRICE, "USD/MWh", 1e-3 },
    { DIM_ENERGY_PRICE, "EUR/MWh", 1e-3 },
    { DIM_RENT, "USD/kW/month", 1 }, { DIM_RENT, "EUR/kW/month", 1 },
    { DIM_MS, "ms", 1 }, { DIM_MS, "s", 1e3 }, { DIM_MS, "us", 1e-3 },
    { DIM_YEARS, "y", 1 }, { DIM_YEARS, "quarter", 0.25 }, { DIM_YEARS, "month", 1 / 12.0 },
    { DIM_QUARTERS, "quarter", 1 }, { DIM_QUARTERS, "quarters", 1 }, { DIM_QUARTERS, "y", 4 },
    { DIM_HOURS, "h", 1 }, { DIM_HOURS, "d", 24 }, { DIM_HOURS, "y", 8760 },
    { DIM_PER_YEAR, "1/y", 1 }, { DIM_PER_YEAR, "%/y", 0.01 },
    { DIM_RATE, "tok/s", 1 }, { DIM_RATE, "ktok/s", 1e3 }, { DIM_RATE, "Mtok/s", 1e6 },
    { DIM_VOLUME, "Mtok/day", 1 }, { DIM_VOLUME, "Gtok/day", 1e3 }, { DIM_VOLUME, "Ttok/day", 1e6 },
    { DIM_VOLUME, "Mtok/month", 12 / 365.0 }, { DIM_VOLUME, "Mtok/y", 1 / 365.0 },
    { DIM_TOKENS, "tok", 1 }, { DIM_TOKENS, "tokens", 1 }, { DIM_TOKENS, "ktok", 1e3 },
    { DIM_TOKEN_PRICE, "USD/Mtok", 1 }, { DIM_TOKEN_PRICE, "EUR/Mtok", 1 },
    { DIM_GB, "GB", 1 }, { DIM_GB, "MB", 1e-3 }, { DIM_GB, "TB", 1e3 },
    { DIM_BYTES, "B", 1 }, { DIM_BYTES, "KB", 1e3 },
    { DIM_DEGREES, "deg", 1 },
    { DIM_MS_PER_TOKEN, "ms/tok", 1 }, { DIM_MS_PER_TOKEN, "us/tok", 1e-3 }, { DIM_MS_PER_TOKEN, "ns/tok", 1e-6 },
    { DIM_MS_PER_TOKEN, "ms/tok2", 1 }, { DIM_MS_PER_TOKEN, "ns/tok2", 1e-6 },
    { DIM_FLOPS, "TFLOP/s", 1 },
    { DIM_BANDWIDTH, "TB/s", 1 }, { DIM_BANDWIDTH, "GB/s", 1e-3 },
    { DIM_KG_PER_KWH, "kg/kWh", 1 }, { DIM_KG_PER_KWH, "g/kWh", 1e-3 },
};

double figure_unit_factor(enum dim dim, const char *unit, double eur_usd)
{
    for (size_t i = 0; i < MEM_COUNT(units); i++)
        if (units[i].dim == dim && !strcmp(units[i].unit, unit))
            return units[i].factor * (strstr(unit, "EUR") ? eur_usd : 1);
    return 0;
}

const char *figure_base_unit(enum dim dim)
{
    for (size_t i = 0; i < MEM_COUNT(units); i++)
        if (units[i].dim == dim)
            return units[i].unit;
    return "";
}

const char *figure_units(enum dim dim)
{
    static _Thread_local char list[160];
    size_t used = 0;
    list[0] = '\0';
    for (size_t i = 0; i < MEM_COUNT(units); i++)
        if (units[i].dim == dim && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", units[i].unit);
    return list;
}

const char *figure_class_name(enum figure_class c)
{
    return c == CLASS_SEEN ? "seen" : c == CLASS_MEASURED ? "measured" : "assumed";
}

bool figure_split(const char *text, double *value, char unit[24])
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v))
        return false;
    while (*end == ' ')
        end++;
    if (strlen(end) >= 24)
        return false;
    snprintf(unit, 24, "%s", end);
    *value = v;
    return true;
}
