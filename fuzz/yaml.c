/* yaml -- fuzz target: any bytes either parse or give an error with a name and a line; marks stay consistent. */
#include "base/assert.h"
#include "base/yaml.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct yaml_doc *d, const json_t *v, int depth)
{
    const char *key;
    json_t *member;
    size_t i;
    ASSERT(depth <= YAML_DEPTH_MAX);
    if (json_is_object(v)) {
        ASSERT(yaml_line_of(d, v) > 0);
        json_object_foreach((json_t *)v, key, member) {
            ASSERT(yaml_line(d, v, key) > 0);
            walk(d, member, depth + 1);
        }
    } else if (json_is_array(v)) {
        json_array_foreach(v, i, member) {
            ASSERT(yaml_line_at(d, v, i) > 0);
            walk(d, member, depth + 1);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_doc d;
    struct err e = { 0 };
    if (yaml_parse((const char *)data, size, "input", &d, &e)) {
        ASSERT(e.code && !strncmp(e.text, "input:", 6));
        return 0;
    }
    walk(&d, d.root, 0);
    yaml_doc_release(&d);
    return 0;
}
