/* yaml_test -- what the loader reads (YAML 1.2 core schema, section 10.3), where it was, and what it refuses. */
#include "../test.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

static void check_json(const char *yaml, const char *want)
{
    struct yaml_doc d;
    struct err e = { 0 };
    struct buf b = { 0 };
    if (yaml_parse(yaml, strlen(yaml), "t", &d, &e)) {
        CHECK_STR(e.text, want);
        return;
    }
    jsonx_dump(d.root, &b);
    CHECK_STR(buf_str(&b), want);
    buf_release(&b);
    yaml_doc_release(&d);
}

static void core_schema(void)
{
    check_json("", "null");
    check_json("a: 1\nb: -2\nc: 0x1F\nd: 0o17\n", "{\"a\":1,\"b\":-2,\"c\":31,\"d\":15}");
    check_json("[1.5, .5, 2., 1e3, -2.5e-1]","[1.5,0.5,2.0,1000.0,-0.25]");
    check_json("[true, False, null, ~, no, 'true', \"1\", 2026-08]",
               "[true,false,null,null,\"no\",\"true\",\"1\",\"2026-08\"]");
    check_json("a:\n  - {x: 1, y: [2, 3]}\n  - text with: colon\n",
               "{\"a\":[{\"x\":1,\"y\":[2,3]},{\"text with\":\"colon\"}]}");
    check_json("a: |\n  two\n  lines\nb: >\n  one\n  line\n", "{\"a\":\"two\\nlines\\n\",\"b\":\"one line\\n\"}");
    check_json("[1e, 1.2.3, 0x, -, +5]", "[\"1e\",\"1.2.3\",\"0x\",\"-\",5]");
}

static void refuses(void)
{
    check_json("a: 1\nb: 2\na: 3\n", "t:3: key 'a' stands twice in one mapping (first on line 1)");
    check_json("a: &x [1]\nb: *x\n", "t:1: anchors (&) and aliases (*) are not supported; write the value out");
    check_json("a: !!int 3\n", "t:1: tags (!) are not supported; leave it out");
    check_json("a: 1\n---\nb: 2\n", "t:2: a second document starts; keep one per file");
    check_json("a: .inf\n", "t:1: .inf is no number this program can use; write a finite one");
    check_json("\na: 99999999999999999999\n", "t:2: 99999999999999999999 is too large a number");
    check_json("a: 1e999\n", "t:1: 1e999 is too large a number");
    check_json("? [1, 2]\n: 3\n", "t:1: a key must be a plain word, not a list or a mapping");
    check_json("\"a\\0b\": 1\n", "t:1: a key holds a NUL character");
    struct yaml_doc d;
    struct err e = { 0 };
    CHECK_INT(yaml_parse("a: [1\nb: 2\n", 11, "t", &d, &e), ERR_INVALID);
    CHECK(!strncmp(e.text, "t:", 2) && strstr(e.text, "not valid YAML"));
    CHECK_INT(yaml_parse("a: \xff\xfe\n", 6, "t", &d, &e), ERR_INVALID);
}

static void limits(void)
{
    struct yaml_doc d;
    struct err e = { 0 };
    char deep[2 * YAML_DEPTH_MAX + 8];
    memset(deep, '[', YAML_DEPTH_MAX + 1);
    memset(deep + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
    CHECK_INT(yaml_parse(deep, 2 * (YAML_DEPTH_MAX + 1), "t", &d, &e), ERR_INVALID);
    CHECK(strstr(e.text, "nested deeper") != NULL);
    CHECK_INT(yaml_parse(deep + 1, 2 * YAML_DEPTH_MAX, "t", &d, &e), ERR_OK);
    yaml_doc_release(&d);
    struct buf b = { 0 };
    buf_putc(&b, '[');
    for (int i = 0; i < YAML_NODES_MAX + 1; i++)
        buf_puts(&b, "1,");
    buf_putc(&b, ']');
    CHECK_INT(yaml_parse(buf_str(&b), b.len, "t", &d, &e), ERR_INVALID);
    CHECK(strstr(e.text, "more than 200000 values") != NULL);
    buf_release(&b);
}

static void lines(void)
{
    const char *text = "# comment\na: 1\nb:\n  - x: true\n    y: null\n\n  - z\nc: {d: 4,\n    e: 5}\n";
    struct yaml_doc d;
    struct err e = { 0 };
    CHECK_INT(yaml_parse(text, strlen(text), "t.yaml", &d, &e), ERR_OK);
    json_t *b = json_object_get(d.root, "b"), *c = json_object_get(d.root, "c");
    CHECK_INT(yaml_line(&d, d.root, "a"), 2);
    CHECK_INT(yaml_line(&d, json_array_get(b, 0), "x"), 4);
    CHECK_INT(yaml_line(&d, json_array_get(b, 0), "y"), 5);
    CHECK_INT(yaml_line_at(&d, b, 1), 7);
    CHECK_INT(yaml_line(&d, c, "e"), 9);
    CHECK_INT(yaml_line_of(&d, c), 8);
    CHECK_INT(yaml_line(&d, d.root, "nothing"), 0);
    static const char *const known[] = { "a", "b", NULL };
    CHECK_INT(yaml_refuse_unknown(&d, d.root, known, &e), ERR_INVALID);
    CHECK_STR(e.text, "t.yaml:8: unknown key 'c'; the keys here are: a, b");
    yaml_doc_release(&d);
}

int main(void)
{
    RUN(core_schema);
    RUN(refuses);
    RUN(limits);
    RUN(lines);
    DONE();
}
