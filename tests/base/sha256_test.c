/* sha256_test -- the examples NIST publishes for FIPS 180-4, and every way of cutting a message in two. */
#include "../test.h"
#include "base/mem.h"
#include "base/sha256.h"

static void check_hex(const void *data, size_t n, const char *want)
{
    uint8_t d[SHA256_BYTES];
    char hex[SHA256_HEX_MAX];
    sha256_of(data, n, d);
    sha256_hex(d, hex);
    CHECK_STR(hex, want);
}

static void fips_examples(void)
{
    check_hex("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_hex("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    check_hex(two, strlen(two), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    const char *four = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                       "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    check_hex(four, strlen(four), "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    char *million = mem_new(1000000, 1);
    memset(million, 'a', 1000000);
    check_hex(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    mem_free(million);
}

static void any_cut_gives_the_same(void)
{
    uint8_t msg[300], whole[SHA256_BYTES], cut[SHA256_BYTES];
    for (size_t i = 0; i < sizeof msg; i++)
        msg[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= sizeof msg; n += 13) {
        sha256_of(msg, n, whole);
        for (size_t at = 0; at <= n; at++) {
            struct sha256 s;
            sha256_init(&s);
            sha256_update(&s, msg, at);
            sha256_update(&s, msg + at, n - at);
            sha256_final(&s, cut);
            CHECK(!memcmp(whole, cut, sizeof whole));
        }
    }
}

int main(void)
{
    RUN(fips_examples);
    RUN(any_cut_gives_the_same);
    DONE();
}
