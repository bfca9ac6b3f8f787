/* price -- money in integers: micro-units of one currency, prices for a million tokens, text forms. */
#ifndef LEDGER_PRICE_H
#define LEDGER_PRICE_H
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

/* With these bounds no product below leaves 64 bits. */
#define PRICE_MICROS_MAX ((int64_t)1000000000000)      /* a million units of currency for a million tokens */
#define PRICE_TOKENS_MAX ((int64_t)1000000000)         /* of one kind in one request */

struct price { /* micro-units for a million tokens */
    int64_t prompt, cached, output;
};

/* Rounded half up to a micro-unit, once, on the sum. Counts outside [0, PRICE_TOKENS_MAX] are brought inside. */
int64_t price_cost(const struct price *p, int64_t prompt_tokens, int64_t cached_tokens, int64_t output_tokens);

/* "12.5" -> 12500000: at most six decimals, no sign, no exponent. */
enum err_code price_parse(const char *text, int64_t max, int64_t *micros, struct err *e);
void price_print(int64_t micros, struct buf *out); /* "12.500000"; every digit, so that sums can be checked */
#endif
