/* figure -- a number with its unit and where it comes from: {value, unit, source, date, class}.
 *
 * In a scenario a figure is a bare number (in the field's base unit), a text "132 kW", a mapping with all
 * five, or {use: NAME} for one of the catalogue's. Short forms are of class assumed. Every figure read is
 * registered with the address it was stored at, so that the sensitivity analysis can move it. */
#ifndef PLAN_FIGURE_H
#define PLAN_FIGURE_H
#include "base/err.h"

#include <stdbool.h>

enum dim {
    DIM_RATIO,        /* 1; also % */
    DIM_COUNT,        /* units */
    DIM_MONEY,        /* USD; kUSD MUSD BUSD and EUR */
    DIM_MONEY_YEAR,   /* USD/y */
    DIM_MONEY_HOUR,   /* USD/h */
    DIM_POWER,        /* W; kW MW */
    DIM_ENERGY_PRICE, /* USD/kWh; EUR/kWh EUR/100kWh USct/kWh */
    DIM_RENT,         /* USD/kW/month */
    DIM_MS,           /* ms; s */
    DIM_YEARS,        /* y; quarter month */
    DIM_QUARTERS,     /* quarter */
    DIM_HOURS,        /* h; d y */
    DIM_PER_YEAR,     /* 1/y; %/y */
    DIM_RATE,         /* tok/s; ktok/s */
    DIM_VOLUME,       /* Mtok/day of output; Gtok/day Mtok/month */
    DIM_TOKENS,       /* tok */
    DIM_TOKEN_PRICE,  /* USD/Mtok */
    DIM_GB,           /* GB; MB TB */
    DIM_BYTES,        /* B; KB (1000) */
    DIM_DEGREES,      /* latitude, longitude */
    DIM_MS_PER_TOKEN, /* ms/tok; us/tok ns/tok */
    DIM_FLOPS,        /* TFLOP/s */
    DIM_BANDWIDTH,    /* TB/s; GB/s */
    DIM_KG_PER_KWH,   /* kg/kWh of CO2; g/kWh */
    DIM_COUNT_
};

enum figure_class { CLASS_SEEN, CLASS_MEASURED, CLASS_ASSUMED };

enum { FIGURE_PATH_MAX = 112, FIGURE_SOURCE_MAX = 120, FIGURES_MAX = 4096 };

struct figure {
    char path[FIGURE_PATH_MAX];     /* "hardware.gb300-nvl72.price" */
    char source[FIGURE_SOURCE_MAX]; /* empty for short forms */
    char unit[24], date[12];
    double value;                   /* as written */
    double *at;                     /* where the value, in the base unit, lives */
    enum figure_class cls;
};

/* The factor from unit to dim's base unit; money in EUR needs eur_usd. 0 when the unit is not one of dim's. */
double figure_unit_factor(enum dim dim, const char *unit, double eur_usd);
const char *figure_base_unit(enum dim dim);
const char *figure_units(enum dim dim); /* all of them, for the remedy */
const char *figure_class_name(enum figure_class c);

/* "132 kW" -> value and unit (may be empty). False when it does not start with a number. */
bool figure_split(const char *text, double *value, char unit[24]);
#endif
