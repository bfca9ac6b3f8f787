/* price -- see price.h. */
#include "ledger/price.h"

#include "base/mem.h"

#include <stdbool.h>

enum { MILLION = 1000000, DECIMALS = 6 };

static int64_t within(int64_t n)
{
    return n < 0 ? 0 : n > PRICE_TOKENS_MAX ? PRICE_TOKENS_MAX : n;
}

int64_t price_cost(const struct price *p, int64_t prompt_tokens, int64_t cached_tokens, int64_t output_tokens)
{
    int64_t cached = within(cached_tokens), fresh = within(prompt_tokens) - cached;
    const int64_t tokens[3] = { fresh < 0 ? 0 : fresh, cached, within(output_tokens) };
    const int64_t price[3] = { p->prompt, p->cached, p->output };
    int64_t whole = 0, rest = 0; /* rest in millionths of a micro-unit: at most 3e18 */
    for (int i = 0; i < 3; i++) {
        whole += tokens[i] / MILLION * price[i];
        rest += tokens[i] % MILLION * price[i];
    }
    return whole + (rest + MILLION / 2) / MILLION;
}

enum err_code price_parse(const char *text, int64_t max, int64_t *micros, struct err *e)
{
    int64_t v = 0;
    int digits = 0, decimals = -1;
    for (const char *p = text; *p; p++) {
        if (*p == '.' && decimals < 0) {
            decimals = 0;
            continue;
        }
        if (*p < '0' || *p > '9' || (decimals >= 0 && ++decimals > DECIMALS) || v > max)
            return err_set(e, ERR_INVALID, "'%.40s' is no amount: write it like 12.50, with at most six decimals "
                           "and no larger than %lld", text, (long long)(max / MILLION));
        v = v * 10 + (*p - '0');
        digits++;
    }
    for (int i = decimals < 0 ? 0 : decimals; i < DECIMALS && v <= max; i++)
        v *= 10;
    if (!digits || v > max)
        return err_set(e, ERR_INVALID, "'%.40s' is no amount: write it like 12.50, with at most six decimals and no "
                       "larger than %lld", text, (long long)(max / MILLION));
    *micros = v;
    return ERR_OK;
}

void price_print(int64_t micros, struct buf *out)
{
    uint64_t u = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
    buf_printf(out, "%s%llu.%06llu", micros < 0 ? "-" : "", (unsigned long long)(u / MILLION),
               (unsigned long long)(u % MILLION));
}
