/* template_test -- chat templates against Python's Jinja2, byte for byte, and against templates that mean harm.
 *
 * tests/text/jinja_cases.json holds our own templates with what Python renders (jinja_cases.py makes it);
 * ../shared/golden/templates those of real models. */
#include "../test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "text/template.h"

#include <dirent.h>
#include <stdlib.h>

static void show(const char *what, const char *name, const char *got, size_t got_n, const char *want)
{
    size_t i = 0, n = strlen(want);
    while (i < n && i < got_n && got[i] == want[i])
        i++;
    size_t from = i > 30 ? i - 30 : 0;
    printf("# %s %s: at byte %zu got \"%.*s\", not \"%.60s\"\n", what, name, i, (int)(got_n - from > 60 ? 60 : got_n - from),
           got + from, want + from);
}

/* One case: expect text, or (expect NULL) an error. */
static bool run_case(const char *name, const char *text, size_t n, const json_t *context, const char *now,
                     const json_t *expect)
{
    struct err e = { 0 };
    struct buf out = { 0 };
    bool ok = false;
    struct template *t = template_parse(text, n, &e);
    enum err_code code = t ? template_render(t, context, now, NULL, &out, &e) : e.code;
    if (code && expect)
        printf("# %s: %.80s: failed with: %s\n", name, text, e.text);
    else if (!code && !expect)
        printf("# %s: %.80s: rendered \"%.80s\", and should fail\n", name, text, buf_str(&out));
    else if (expect && (out.len != json_string_length(expect) || memcmp(buf_str(&out), json_string_value(expect), out.len)))
        show(name, text, buf_str(&out), out.len, json_string_value(expect));
    else
        ok = true;
    template_free(t);
    buf_release(&out);
    return ok;
}

static void own_cases(void)
{
    struct err e = { 0 };
    json_t *all = jsonx_parse_file("tests/text/jinja_cases.json", 1 << 22, &e);
    if (!all)
        printf("# %s\n", e.text);
    CHECK(all);
    if (!all)
        return;
    const char *now = json_string_value(json_object_get(all, "now"));
    json_t *c;
    size_t i, good = 0, count = json_array_size(json_object_get(all, "cases"));
    json_array_foreach(json_object_get(all, "cases"), i, c) {
        json_t *t = json_object_get(c, "t");
        good += run_case("own", json_string_value(t), json_string_length(t), json_object_get(all, "context"), now,
                         json_object_get(c, "e"));
    }
    CHECK(count > 700);
    CHECK_INT(good, count);
    json_decref(all);
}

static int golden_file(const char *path, const char *name)
{
    struct err e = { 0 };
    json_t *file = jsonx_parse_file(path, 1 << 24, &e), *c;
    size_t i;
    int good = 0;
    CHECK(file);
    json_t *t = json_object_get(file, "template");
    json_array_foreach(json_object_get(file, "cases"), i, c) {
        bool ok = run_case(name, json_string_value(t), json_string_length(t), json_object_get(c, "context"),
                           json_string_value(json_object_get(file, "now")), json_object_get(c, "expect"));
        CHECK(ok);
        good += ok;
    }
    json_decref(file);
    return good;
}

static void golden_templates(void)
{
    const char *shared = getenv("TW_SHARED");
    char folder[512], path[1024];
    snprintf(folder, sizeof folder, "../shared/golden/templates");
    DIR *d = opendir(folder);
    if (!d && shared) {
        snprintf(folder, sizeof folder, "%s/golden/templates", shared);
        d = opendir(folder);
    }
    if (!d)
        SKIP("no shared/golden/templates beside the checkout or in TW_SHARED");
    int good = 0;
    for (struct dirent *f; (f = readdir(d));) {
        size_t n = strlen(f->d_name);
        if (n < 6 || strcmp(f->d_name + n - 5, ".json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        good += golden_file(path, f->d_name);
    }
    closedir(d);
    printf("# %d golden cases\n", good);
    CHECK(good > 0);
}

/* ---- templates that mean harm: each must fail, with that code, soon */

static enum err_code attack(const char *text, size_t n, double *seconds)
{
    struct err e = { 0 };
    struct buf out = { 0 };
    int64_t start = clock_mono_ns();
    struct template *t = template_parse(text, n, &e);
    enum err_code code = t ? template_render(t, NULL, NULL, NULL, &out, &e) : e.code;
    *seconds = (double)(clock_mono_ns() - start) / 1e9;
    if (code)
        CHECK(e.text[0]);
    template_free(t);
    buf_release(&out);
    return code;
}

static void hostile(void)
{
    static const char *const attacks[] = {
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(a) %}{{ g(a) }}{% endmacro %}{% macro g(a) %}{{ f(a) }}{% endmacro %}{{ f(1) }}",
        "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{% for i in range(1000000000000) %}x{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ 'a' * 9223372036854775807 }}",
        "{{ [0] * 9223372036854775807 }}",
        "{{ [[0] * 1000000] * 1000000 }}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x == [ns.x] }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 9223372036854775807 * 2 }}",
        "{{ 2 ** 64 }}", "{{ 99999999999999999999 }}", "{{ (0 - 9223372036854775807 - 1) // -1 }}",
        "{{ - (0 - 9223372036854775807 - 1) }}", "{{ (0 - 9223372036854775807 - 1) | abs }}",
        "{{ '99999999999999999999' | int }}", "{{ 1e300 | int }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{{ '%1000000000d' % 1 ~ '%*d' % (1000000000, 1) * 100000 }}",
        "{{ ('x' * 100000) | replace('', 'y' * 100000) }}",
        "{{ ('x' * 1000000) | indent('y' * 1000000) * 1000 }}",
        "{{ range(100000) | list | join(' ' * 100000) }}",
        "{% set ns = namespace(g=[1]) %}{% for i in range(50000) %}{% set ns.g = ns.g | map('string') %}{% endfor %}{{ ns.g | list }}",
        "{{ range(0, 9223372036854775807, 1) }}", "{{ 'x'.center(9223372036854775807) }}", "{{ 'x' | center(999999999999) }}",
        "{{ [1,2,3] | batch(9223372036854775807, 0) | list }}", "{{ [1] | slice(9223372036854775807) | list }}",
        "{{ range(5)[::9223372036854775807][::9223372036854775807][:9][::3] ~ range(9223372036854775806, 9223372036854775807)[1:] ~ raise_exception('x') }}",
    };
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        double seconds;
        enum err_code code = attack(attacks[i], strlen(attacks[i]), &seconds);
        if (!code || seconds > 20 || getenv("TW_VERBOSE"))
            printf("# %s: code %d after %.1f s\n", attacks[i], code, seconds);
        CHECK(code == ERR_LIMIT || code == ERR_INVALID);
        CHECK(seconds < 20);
    }
}

/* A text of n times open, then middle, then n times close. */
static void nested(const char *open, const char *middle, const char *close, int n)
{
    struct buf b = { 0 };
    double seconds;
    for (int i = 0; i < n; i++)
        buf_puts(&b, open);
    buf_puts(&b, middle);
    for (int i = 0; i < n; i++)
        buf_puts(&b, close);
    CHECK(attack(buf_str(&b), b.len, &seconds) != ERR_OK);
    CHECK(seconds < 5);
    buf_release(&b);
}

static void hostile_nesting(void)
{
    nested("{{ ", "1", "", 100000);
    nested("{% if 1 %}", "x", "{% endif %}", 100000);
    nested("{% for x in [1] %}", "x", "{% endfor %}", 100000);
    nested("{% macro m() %}", "x", "{% endmacro %}", 100000);
    nested("{{ (", "1", ")", 1);
    static const char *const wraps[][2] = { { "(", ")" }, { "[", "]" }, { "{1:", "}" }, { "f(", ")" }, { "not ", "" },
                                            { "-", "" }, { "1 if 1 else ", "" }, { "a[", "]" } };
    for (size_t i = 0; i < sizeof wraps / sizeof wraps[0]; i++) {
        struct buf b = { 0 };
        double seconds;
        buf_puts(&b, "{{ ");
        for (int k = 0; k < 100000; k++)
            buf_puts(&b, wraps[i][0]);
        buf_puts(&b, "zz.y");
        for (int k = 0; k < 100000; k++)
            buf_puts(&b, wraps[i][1]);
        buf_puts(&b, " }}");
        CHECK(attack(buf_str(&b), b.len, &seconds) != ERR_OK);
        CHECK(seconds < 5);
        buf_release(&b);
    }
}

/* Long chains are flat: they must work. */
static void long_chains(void)
{
    static const char *const ops[] = { " + ", " - ", " ~ ", " or ", " and ", " * " };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        struct buf b = { 0 };
        double seconds;
        buf_puts(&b, "{{ 1");
        for (int k = 0; k < 20000; k++) {
            buf_puts(&b, ops[i]);
            buf_puts(&b, "1");
        }
        buf_puts(&b, " }}");
        CHECK_INT(attack(buf_str(&b), b.len, &seconds), ERR_OK);
        buf_release(&b);
    }
}

/* Appending in a loop must not be quadratic: 100,000 pieces of 100 bytes are 10 MB, not 500 GB. */
static void appending(void)
{
    static const char text[] = "{% set ns = namespace(x='') %}{% for i in range(100000) %}"
        "{% set ns.x = ns.x ~ '0123456789012345678901234567890123456789012345678901234567890123456789' %}"
        "{% endfor %}{{ ns.x | length }}";
    struct err e = { 0 };
    struct buf out = { 0 };
    struct template *t = template_parse(text, sizeof text - 1, &e);
    CHECK_INT(template_render(t, NULL, NULL, NULL, &out, &e), ERR_OK);
    CHECK_STR(buf_str(&out), "7000000");
    template_free(t);
    buf_release(&out);
}

static void limits(void)
{
    struct err e = { 0 };
    struct buf out = { 0 };
    struct template *t = template_parse("{% for i in range(1000) %}abc{% endfor %}", 41, &e);
    CHECK(t);
    buf_puts(&out, "before");
    CHECK_INT(template_render(t, NULL, NULL, &(struct template_limits){ .output_max = 100 }, &out, &e), ERR_LIMIT);
    CHECK_INT(template_render(t, NULL, NULL, &(struct template_limits){ .ops_max = 100 }, &out, &e), ERR_LIMIT);
    CHECK_INT(template_render(t, NULL, NULL, &(struct template_limits){ .memory_max = 100 }, &out, &e), ERR_LIMIT);
    CHECK_INT(template_render(t, NULL, NULL, &(struct template_limits){ .depth_max = 2 }, &out, &e), ERR_LIMIT);
    CHECK_STR(buf_str(&out), "before");
    CHECK_INT(template_render(t, NULL, NULL, NULL, &out, &e), ERR_OK);
    CHECK_INT(out.len, 3006);
    template_free(t);
    buf_release(&out);
}

static void messages(void)
{
    struct err e = { 0 };
    struct buf out = { 0 };
    struct template *t = template_parse("{{ raise_exception('only user and assistant') }}", 48, &e);
    CHECK_INT(template_render(t, NULL, NULL, NULL, &out, &e), ERR_INVALID);
    CHECK_STR(e.text, "only user and assistant");
    template_free(t);
    CHECK(!template_parse("a\n{% if x %}\nb", 14, &e));
    CHECK_STR(e.text, "template line 3: the template ends before {% elif %} (of line 2)");
    t = template_parse("\n\n{{ x.y }}", 11, &e);
    CHECK_INT(template_render(t, NULL, NULL, NULL, &out, &e), ERR_INVALID);
    CHECK_STR(e.text, "'x' is undefined (template line 3)");
    template_free(t);
    CHECK(!template_parse("\xff", 1, &e));
}

static void mentions(void)
{
    struct err e = { 0 };
    struct template *t = template_parse("{% if tools %}{{ m.enable_thinking }}{{ f(documents=1) }}{% endif %}", 68, &e);
    CHECK(template_mentions(t, "tools"));
    CHECK(template_mentions(t, "m"));
    CHECK(!template_mentions(t, "enable_thinking"));
    CHECK(!template_mentions(t, "documents"));
    CHECK(!template_mentions(t, "messages"));
    template_free(t);
    template_free(NULL);
}

int main(void)
{
    RUN(own_cases);
    RUN(golden_templates);
    RUN(hostile);
    RUN(hostile_nesting);
    RUN(long_chains);
    RUN(appending);
    RUN(limits);
    RUN(messages);
    RUN(mentions);
    DONE();
}
