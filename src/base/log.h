/* log -- the narration on stderr: one line a fact, never a prompt, never a key.
 *
 * Thread-safe: each line is one write(2). LOG_JSON makes each line an object {"ts","level","floor","msg"}. */
#ifndef BASE_LOG_H
#define BASE_LOG_H
#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set(enum log_level max, bool json);
/* floor: the folder that speaks ("front", "engine"). */
void log_line(enum log_level level, const char *floor, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#endif
