/* log -- see log.h. The two settings are global because a log line is written from everywhere; they
 * are set once, before any thread starts. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static enum log_level level_max = LOG_INFO;
static bool as_json;

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_set(enum log_level max, bool json)
{
    level_max = max;
    as_json = json;
}

/* Copies text with control bytes, quotes and backslashes escaped as JSON wants; cuts at the end of out. */
static void escape(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p && n + 8 < size; p++) {
        if (*p == '"' || *p == '\\') {
            out[n++] = '\\';
            out[n++] = (char)*p;
        } else if (*p < 0x20 || *p == 0x7f) {
            n += (size_t)snprintf(out + n, size - n, "\\u%04x", *p);
        } else {
            out[n++] = (char)*p;
        }
    }
    out[n] = '\0';
}

void log_line(enum log_level level, const char *floor, const char *fmt, ...)
{
    if (level > level_max)
        return;
    char text[LINE_MAX_BYTES / 2], clean[LINE_MAX_BYTES - 128], line[LINE_MAX_BYTES], stamp[32];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
    int n;
    if (as_json) {
        escape(clean, sizeof clean, text);
        n = snprintf(line, sizeof line, "{\"ts\":\"%s\",\"level\":\"%s\",\"floor\":\"%s\",\"msg\":\"%s\"}\n",
                     stamp, level_names[level], floor, clean);
    } else {
        n = snprintf(line, sizeof line, "%s %-5s %s: %s\n", stamp, level_names[level], floor, text);
    }
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0)
        return; /* nowhere left to say it */
}
