/* subject_test -- names, subjects there and back, and the checksum of bodies. */
#include "../test.h"
#include "fleet/crc32.h"
#include "fleet/subject.h"

static void test_names(void)
{
    CHECK(fleet_name_ok("a") && fleet_name_ok("box-7") && fleet_name_ok("abcdefghijklmnopqrstuvwxyz012345"));
    CHECK(!fleet_name_ok("") && !fleet_name_ok(NULL) && !fleet_name_ok("abcdefghijklmnopqrstuvwxyz0123456"));
    CHECK(!fleet_name_ok("A") && !fleet_name_ok("a.b") && !fleet_name_ok("*") && !fleet_name_ok(">") &&
          !fleet_name_ok("a b") && !fleet_name_ok("\xC3\xA4"));
}

static void test_there_and_back(void)
{
    struct fleet_place p = { "ch", "zurich-1", "box7" }, q;
    char s[FLEET_SUBJECT_MAX], last[FLEET_NAME_MAX + 1], role;
    fleet_subject(&p, 'w', "req", s);
    CHECK_STR(s, "tw.v1.ch.zurich-1.w.box7.req");
    CHECK(fleet_subject_read(s, &q, &role, last));
    CHECK(!strcmp(q.jurisdiction, "ch") && !strcmp(q.site, "zurich-1") && !strcmp(q.name, "box7") && role == 'w' &&
          !strcmp(last, "req"));
    fleet_subject(&p, 'g', "in", s);
    CHECK_STR(s, "tw.v1.ch.zurich-1.g.box7.in");
    CHECK(fleet_subject_read(s, &q, &role, last) && role == 'g');
    struct fleet_place all = { "*", "*", "*" };
    fleet_subject(&all, 'w', "hb", s);
    CHECK_STR(s, "tw.v1.*.*.w.*.hb");
    CHECK(!fleet_subject_read(s, &q, &role, last));
}

static void test_model(void)
{
    char s[FLEET_SUBJECT_MAX];
    fleet_subject_any("eu", "SmolLM2-135M-Instruct.Q4_1", s); /* printf of the id to sha256sum */
    CHECK_STR(s, "tw.v1.eu.m.3057c65a6f81f613.any");
}

static void test_not_subjects(void)
{
    static const char *const bad[] = {
        "", ".", "......", "tw.v1.ch.z.w.b", "tw.v1.ch.z.w.b.req.x", "tw.v2.ch.z.w.b.req", "xx.v1.ch.z.w.b.req",
        "tw.v1.ch.z.x.b.req", "tw.v1.ch.z.w.b.in", "tw.v1.ch.z.g.b.req", "tw.v1.ch.z.ww.b.req", "tw.v1..z.w.b.req",
        "tw.v1.CH.z.w.b.req", "tw.v1.ch.z.w.b.req ", "tw.v1.ch.z.w.b.",
        "tw.v1.ch.z.w.abcdefghijklmnopqrstuvwxyz0123456.req", "tw.v1.eu.m.0123456789abcdef.any",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fleet_place p;
        char role, last[FLEET_NAME_MAX + 1];
        if (fleet_subject_read(bad[i], &p, &role, last))
            printf("# taken: %s\n", bad[i]);
        CHECK(!fleet_subject_read(bad[i], &p, &role, last));
    }
}

/* Expected values: the check value of the CRC catalogue, and zlib's of the other two. */
static void test_crc32(void)
{
    CHECK_INT(fleet_crc32(0, "", 0), 0);
    CHECK_INT(fleet_crc32(0, "123456789", 9), 0xCBF43926);
    CHECK_INT(fleet_crc32(0, "The quick brown fox jumps over the lazy dog", 43), 0x414FA339);
    uint8_t d[1000];
    for (int i = 0; i < 1000; i++)
        d[i] = (uint8_t)(i * 7 + 3);
    for (size_t cut = 0; cut <= 1000; cut += 37)
        CHECK_INT(fleet_crc32(fleet_crc32(0, d, cut), d + cut, 1000 - cut), 0x17BC2A46);
}

int main(void)
{
    RUN(test_names);
    RUN(test_there_and_back);
    RUN(test_model);
    RUN(test_not_subjects);
    RUN(test_crc32);
    DONE();
}
