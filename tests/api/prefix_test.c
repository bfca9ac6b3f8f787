/* prefix_test -- SipHash-2-4 on its authors' vectors; the chain spelled out by hand; what shares a prefix and what not. */
#include "../test.h"

#include "api/prefix.h"
#include "base/buf.h"
#include "base/mem.h"

/* vectors_sip64 of the reference implementation: key 00 01 .. 0f, message 00 01 .. of each length. */
static const uint64_t vectors[64] = {
    0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
    0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
    0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
    0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
    0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8,
    0xb8ad50c6f649af94, 0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad,
    0xde4daaaca71dc9a5, 0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
    0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238, 0x15e034d40fa197ae,
    0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
    0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
    0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb,
    0xe612a3cb9ecba951, 0xc766e62cfcadaf96, 0xee64435a9752fe72, 0xa192d576b245165a,
    0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
    0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
    0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

static void siphash_known_answers(void)
{
    uint8_t key[16], text[64];
    for (int i = 0; i < 64; i++)
        text[i] = (uint8_t)i;
    memcpy(key, text, sizeof key);
    for (size_t n = 0; n < 64; n++)
        CHECK(siphash(key, text, n) == vectors[n]);
}

static const uint8_t salt[16] = "tenant A's salt", other_salt[16] = "tenant B's salt";

static struct api_prefix of(const uint8_t s[16], const char *body)
{
    struct api_prefix p = { 0 };
    struct err e;
    if (api_prefix_of(s, body, strlen(body), &p, &e)) {
        printf("# %s\n", e.text);
        CHECK(!"accepted");
    }
    return p;
}

/* {"messages":[first, (second)]}, keys in either order, with or without spaces. */
static void body_of(struct buf *b, bool swapped, char fill, int n, const char *second)
{
    buf_clear(b);
    buf_puts(b, swapped ? "{ \"messages\" : [ {\"role\":\"user\", \"content\":\""
                        : "{\"model\":\"m\",\"messages\":[{\"content\":\"");
    for (int i = 0; i < n; i++)
        buf_putc(b, fill);
    buf_puts(b, swapped ? "\"}" : "\",\"role\":\"user\"}");
    if (second)
        buf_printf(b, ",{\"role\":\"assistant\",\"content\":\"%s\"}", second);
    buf_puts(b, "]}");
}

static void chain_spelled_out(void)
{
    struct buf body = { 0 }, text = { 0 };
    body_of(&body, false, 'a', 600, NULL);
    struct api_prefix p = of(salt, buf_str(&body));
    buf_puts(&text, "null\n{\"content\":\"");
    for (int i = 0; i < 600; i++)
        buf_putc(&text, 'a');
    buf_puts(&text, "\",\"role\":\"user\"}\n");
    CHECK_INT(p.count, (intmax_t)(text.len / 256));
    uint8_t block[264] = { 0 };
    for (int i = 0; i < p.count; i++) {
        memcpy(block + 8, text.data + 256 * i, 256);
        uint64_t h = siphash(salt, block, sizeof block);
        CHECK(p.hash[i] == h);
        for (int k = 0; k < 8; k++)
            block[k] = (uint8_t)(h >> (8 * k));
    }
    api_prefix_release(&p);
    buf_release(&body);
    buf_release(&text);
}

static void what_is_alike(void)
{
    struct buf b = { 0 };
    body_of(&b, false, 'a', 2000, NULL);
    struct api_prefix one = of(salt, buf_str(&b)), theirs = of(other_salt, buf_str(&b));
    CHECK_INT(one.count, 7);
    CHECK_INT(api_prefix_common(&one, &theirs), 0); /* another tenant's hashes tell nothing */
    body_of(&b, true, 'a', 2000, "and so on, at length");
    struct api_prefix longer = of(salt, buf_str(&b));
    CHECK_INT(api_prefix_common(&one, &longer), one.count); /* order and spaces do not matter; it went on */
    body_of(&b, false, 'b', 2000, NULL);
    struct api_prefix different = of(salt, buf_str(&b));
    CHECK_INT(api_prefix_common(&one, &different), 0);
    api_prefix_release(&one);
    api_prefix_release(&theirs);
    api_prefix_release(&longer);
    api_prefix_release(&different);
    buf_release(&b);
}

static void a_change_ends_what_is_common(void)
{
    struct buf b = { 0 };
    body_of(&b, false, 'a', 3000, NULL);
    struct api_prefix one = of(salt, buf_str(&b));
    b.data[1500] = 'x';
    struct api_prefix two = of(salt, buf_str(&b));
    int common = api_prefix_common(&one, &two);
    CHECK(common == 5 && one.count == two.count);
    for (int i = common; i < one.count; i++)
        CHECK(one.hash[i] != two.hash[i]);
    api_prefix_release(&one);
    api_prefix_release(&two);
    buf_release(&b);
}

static void what_has_none(void)
{
    struct api_prefix p = of(salt, "{\"messages\":[]}");
    CHECK_INT(p.count, 0);
    struct err e;
    CHECK(api_prefix_of(salt, "{\"model\":1}", 11, &p, &e) == ERR_INVALID);
    CHECK(api_prefix_of(salt, "[1]", 3, &p, &e) == ERR_INVALID);
    CHECK(api_prefix_of(salt, "{\"prompt\":[1,2]}", 16, &p, &e) == ERR_INVALID);
    CHECK(api_prefix_of(salt, "{", 1, &p, &e) == ERR_INVALID);
    struct buf b = { 0 };
    buf_puts(&b, "{\"prompt\":\"");
    for (int i = 0; i < 256 * 5000; i++)
        buf_putc(&b, 'p');
    buf_puts(&b, "\"}");
    p = of(salt, buf_str(&b));
    CHECK_INT(p.count, API_PREFIX_BLOCKS_MAX);
    api_prefix_release(&p);
    buf_release(&b);
}

int main(void)
{
    RUN(siphash_known_answers);
    RUN(chain_spelled_out);
    RUN(what_is_alike);
    RUN(a_change_ends_what_is_common);
    RUN(what_has_none);
    DONE();
}
