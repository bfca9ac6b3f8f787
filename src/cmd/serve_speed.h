/* serve_speed -- the settings of `tokenworks serve` that trade speed: guesses of tokens, and target times. */
#ifndef CMD_SERVE_SPEED_H
#define CMD_SERVE_SPEED_H
#include "base/json.h"
#include "cmd/serve_config.h"

/* Puts them among the options an engine is told in its hello; ERR_INVALID when --speculate says nothing known. */
enum err_code serve_speed_options(const struct serve_options *o, json_t *options, struct err *e);
#endif
