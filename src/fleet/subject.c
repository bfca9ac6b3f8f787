/* subject -- see subject.h. */
#include "fleet/subject.h"

#include "base/assert.h"
#include "base/sha256.h"

#include <stdio.h>
#include <string.h>

enum { MODEL_HEX = 16, SUBJECT_WORDS = 7 };

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool name_n_ok(const char *name, size_t n)
{
    if (n < 1 || n > FLEET_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!name_char(name[i]))
            return false;
    return true;
}

bool fleet_name_ok(const char *name)
{
    return name && name_n_ok(name, strnlen(name, FLEET_NAME_MAX + 1));
}

static bool name_or_any(const char *name)
{
    return !strcmp(name, "*") || fleet_name_ok(name);
}

void fleet_subject(const struct fleet_place *p, char role, const char *last, char out[FLEET_SUBJECT_MAX])
{
    ASSERT(name_or_any(p->jurisdiction) && name_or_any(p->site) && name_or_any(p->name) && name_or_any(last));
    ASSERT(role == 'w' || role == 'g');
    int n = snprintf(out, FLEET_SUBJECT_MAX, "tw.v1.%s.%s.%c.%s.%s", p->jurisdiction, p->site, role, p->name, last);
    ASSERT(n > 0 && n < FLEET_SUBJECT_MAX);
}

void fleet_subject_any(const char *jurisdiction, const char *model_id, char out[FLEET_SUBJECT_MAX])
{
    ASSERT(name_or_any(jurisdiction));
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_MAX];
    sha256_of(model_id, strlen(model_id), digest);
    sha256_hex(digest, hex);
    int n = snprintf(out, FLEET_SUBJECT_MAX, "tw.v1.%s.m.%.*s.any", jurisdiction, MODEL_HEX, hex);
    ASSERT(n > 0 && n < FLEET_SUBJECT_MAX);
}

/* Splits at the dots; -1 when there are too many words. */
static int split(const char *s, const char *word[SUBJECT_WORDS], size_t n[SUBJECT_WORDS])
{
    int count = 0;
    for (; count < SUBJECT_WORDS; s++) {
        word[count] = s;
        n[count] = strcspn(s, ".");
        s += n[count++];
        if (!*s)
            return count;
    }
    return -1;
}

static bool last_word_ok(char role, const char *last)
{
    static const char *const worker[] = { "req", "ctl", "hb", NULL }, *const gateway[] = { "in", "hb", NULL };
    for (const char *const *w = role == 'w' ? worker : gateway; *w; w++)
        if (!strcmp(*w, last))
            return true;
    return false;
}

static void copy_name(char out[FLEET_NAME_MAX + 1], const char *word, size_t n)
{
    memcpy(out, word, n);
    out[n] = '\0';
}

bool fleet_subject_read(const char *subject, struct fleet_place *p, char *role, char last[FLEET_NAME_MAX + 1])
{
    enum { TW, VERSION, JURISDICTION, SITE, ROLE, NAME, LAST };
    const char *word[SUBJECT_WORDS];
    size_t n[SUBJECT_WORDS];
    if (strnlen(subject, FLEET_SUBJECT_MAX) >= FLEET_SUBJECT_MAX || split(subject, word, n) != SUBJECT_WORDS)
        return false;
    for (int i = 0; i < SUBJECT_WORDS; i++)
        if (!name_n_ok(word[i], n[i]))
            return false;
    if (strncmp(subject, "tw.v1.", 6) || n[ROLE] != 1 || (*word[ROLE] != 'w' && *word[ROLE] != 'g') ||
        !last_word_ok(*word[ROLE], word[LAST]))
        return false;
    copy_name(p->jurisdiction, word[JURISDICTION], n[JURISDICTION]);
    copy_name(p->site, word[SITE], n[SITE]);
    copy_name(p->name, word[NAME], n[NAME]);
    copy_name(last, word[LAST], n[LAST]);
    *role = *word[ROLE];
    return true;
}
