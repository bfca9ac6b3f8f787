/* note -- see note.h. */
#include "trust/note.h"

#include <string.h>

static const char DASH[] = "\xE2\x80\x94 "; /* an em dash and a space */
enum { DASH_BYTES = sizeof DASH - 1, SIG_RAW_MAX = 8192 };

static size_t utf8_len(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xC2 && s[0] <= 0xDF ? 2 : (s[0] & 0xF0) == 0xE0 ? 3 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : 0;
    if (!len || n < len)
        return 0;
    unsigned lo = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned hi = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool note_text_ok(struct span text)
{
    if (!text.len || text.len > NOTE_TEXT_MAX || text.data[text.len - 1] != '\n')
        return false;
    const unsigned char *s = (const unsigned char *)text.data;
    for (size_t i = 0; i < text.len;) {
        size_t len = utf8_len(s + i, text.len - i);
        if (!len || (s[i] < 0x20 && s[i] != '\n'))
            return false;
        i += len;
    }
    return true;
}

static bool name_ok(struct span name)
{
    if (!name.len)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] == ' ' || name.data[i] == '+')
            return false;
    return true;
}

static enum err_code parse_sig(struct span line, struct note_sig *out, struct err *e)
{
    uint8_t raw[SIG_RAW_MAX];
    size_t n = sizeof raw;
    struct span rest, base64;
    out->line = (struct span){ line.data, line.len + 1 };
    if (line.len < DASH_BYTES || memcmp(line.data, DASH, DASH_BYTES))
        return err_set(e, ERR_CORRUPT, "a signature line of the note does not begin with a dash and a space");
    rest = (struct span){ line.data + DASH_BYTES, line.len - DASH_BYTES };
    if (!span_cut(rest, ' ', &out->name, &base64) || !name_ok(out->name))
        return err_set(e, ERR_CORRUPT, "a signature line of the note has no name");
    if (!code_unbase64(raw, &n, base64) || n < 5)
        return err_set(e, ERR_CORRUPT, "a signature line of the note is not base64 of a key id and a signature");
    out->id = (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
    out->sig_len = n - 4;
    memset(out->sig, 0, sizeof out->sig);
    memcpy(out->sig, raw + 4, out->sig_len < sizeof out->sig ? out->sig_len : sizeof out->sig);
    return ERR_OK;
}

/* The last empty line parts text and signatures. Returns the offset of the first signature, or 0. */
static size_t find_split(struct span b)
{
    for (size_t i = b.len; i >= 2; i--)
        if (b.data[i - 1] == '\n' && b.data[i - 2] == '\n')
            return i;
    return 0;
}

enum err_code note_parse(struct span bytes, struct note *out, struct err *e)
{
    if (!note_text_ok(bytes))
        return err_set(e, ERR_CORRUPT, "not a note: it must be UTF-8 text without control characters, at most %d bytes",
                       NOTE_TEXT_MAX);
    size_t split = find_split(bytes);
    if (split < 3 || split == bytes.len)
        return err_set(e, ERR_CORRUPT, "not a note: text, an empty line, then signatures");
    out->text = (struct span){ bytes.data, split - 1 };
    out->sig_count = 0;
    struct span rest = { bytes.data + split, bytes.len - split }, line;
    while (span_line(&rest, &line)) {
        if (out->sig_count == NOTE_SIGS_MAX)
            return err_set(e, ERR_LIMIT, "the note carries more than %d signatures", NOTE_SIGS_MAX);
        struct note_sig *s = &out->sigs[out->sig_count];
        enum err_code c = parse_sig(line, s, e);
        if (c)
            return c;
        for (int i = 0; i < out->sig_count; i++)
            if (out->sigs[i].id == s->id && span_same(out->sigs[i].name, s->name))
                return err_set(e, ERR_CORRUPT, "the note carries two signatures of one key");
        out->sig_count++;
    }
    return ERR_OK;
}

const struct note_sig *note_find(const struct note *n, const struct key_public *k)
{
    for (int i = 0; i < n->sig_count; i++)
        if (n->sigs[i].id == k->id && span_is(n->sigs[i].name, k->name))
            return &n->sigs[i];
    return NULL;
}

enum err_code note_verify(const struct note *n, const struct key_public *k, struct err *e)
{
    const struct note_sig *s = note_find(n, k);
    if (!s)
        return err_set(e, ERR_DENIED, "the note is not signed by %s+%08x", k->name, k->id);
    if (k->type != KEY_NOTE || s->sig_len != KEY_SIG_BYTES || !key_verify(k, n->text.data, n->text.len, s->sig))
        return err_set(e, ERR_DENIED, "the signature of %s+%08x on the note is wrong", k->name, k->id);
    return ERR_OK;
}

void note_add_sig(struct buf *out, const struct key_public *k, const uint8_t *sig, size_t n)
{
    uint8_t raw[4 + NOTE_SIG_BYTES_MAX] = { (uint8_t)(k->id >> 24), (uint8_t)(k->id >> 16), (uint8_t)(k->id >> 8),
                                            (uint8_t)k->id };
    n = n < NOTE_SIG_BYTES_MAX ? n : NOTE_SIG_BYTES_MAX;
    memcpy(raw + 4, sig, n);
    buf_printf(out, "%s%s ", DASH, k->name);
    code_base64(out, raw, 4 + n);
    buf_putc(out, '\n');
}

enum err_code note_sign(struct span text, const struct key_secret *k, struct buf *out, struct err *e)
{
    uint8_t sig[KEY_SIG_BYTES];
    if (!note_text_ok(text))
        return err_set(e, ERR_INVALID, "the text to sign must be UTF-8 lines without control characters");
    if (k->pub.type != KEY_NOTE)
        return err_set(e, ERR_INVALID, "the key of %s signs checkpoints as a witness, not notes", k->pub.name);
    key_sign(k, text.data, text.len, sig);
    buf_append(out, text.data, text.len);
    buf_putc(out, '\n');
    note_add_sig(out, &k->pub, sig, sizeof sig);
    return out->overflow ? err_set(e, ERR_LIMIT, "the note is too long") : ERR_OK;
}
