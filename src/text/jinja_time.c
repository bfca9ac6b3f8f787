/* jinja_time -- strftime_now: the C library's strftime in English, on a frozen or the local clock. */
#include "text/jinja_run.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static bool frozen(const char *iso, struct tm *tm)
{
    int y, mo, d, h = 0, mi = 0, s = 0;
    int got = sscanf(iso, "%4d-%2d-%2d%*[T ]%2d:%2d:%2d", &y, &mo, &d, &h, &mi, &s);
    if (got < 3 || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || s > 60)
        return false;
    *tm = (struct tm){ .tm_year = y - 1900, .tm_mon = mo - 1, .tm_mday = d, .tm_hour = h, .tm_min = mi, .tm_sec = s,
                       .tm_isdst = -1 };
    struct tm copy = *tm;
    copy.tm_isdst = 0;
    time_t t = timegm(&copy); /* fills the day of the week and of the year */
    gmtime_r(&t, &copy);
    tm->tm_wday = copy.tm_wday;
    tm->tm_yday = copy.tm_yday;
    return true;
}

/* datetime.now() has no zone: %z and %Z print nothing; %f is the microsecond, which we hold at zero. */
static void put_code(struct buf *b, const struct tm *tm, const char *code, size_t n)
{
    char fmt[4] = { 0 }, text[128];
    if (n == 2 && (code[1] == 'z' || code[1] == 'Z'))
        return;
    if (n == 2 && code[1] == 'f') {
        buf_puts(b, "000000");
        return;
    }
    memcpy(fmt, code, n);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t k = strftime(text, sizeof text, fmt, tm);
#pragma GCC diagnostic pop
    buf_append(b, text, k);
}

struct jv jstrftime(struct jrun *r, struct jv format)
{
    struct tm tm;
    time_t now = (time_t)clock_wall_s();
    const char *p = format.s->p, *end = p + format.s->n;
    struct buf b;
    if (r->now_iso) {
        if (!frozen(r->now_iso, &tm))
            return jfail(r, ERR_INVALID, "the time given for the template is not like 2026-01-02T03:04:05");
    } else {
        localtime_r(&now, &tm);
    }
    if (!jcharge(r, format.s->n))
        return (struct jv){ .type = J_FAIL };
    jbuf_init(r, &b);
    while (p < end) {
        size_t n = 1;
        if (*p == '%' && p + 1 < end)
            n = strchr("-_0^#EO", p[1]) && p[1] && p + 2 < end ? 3 : 2;
        if (n == 1 || (unsigned char)p[n - 1] >= 0x80)
            buf_append(&b, p, n = 1);
        else
            put_code(&b, &tm, p, n);
        p += n;
    }
    return jstr_from_buf(r, &b);
}
