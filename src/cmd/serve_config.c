/* serve_config -- see serve_config.h. */
#include "cmd/serve_config.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

enum kind { TEXT, INT, SIZE, BOOL, TEXTS, LIST };

struct setting {
    const char *section, *key; /* section NULL: a top key */
    enum kind kind;
    size_t offset;
    int64_t min, max;
};

#define AT(field) offsetof(struct serve_options, field)
static const struct setting settings[] = {
    { NULL, "listen", TEXT, AT(listen), 0, 0 },
    { NULL, "models", LIST, AT(model_list), 0, 0 },
    { "memory", "limit", SIZE, AT(memory_limit), 0, 0 },
    { "memory", "kv", SIZE, AT(kv_memory), 0, 0 },
    { "memory", "kv-spill", SIZE, AT(kv_spill), 0, 0 },
    { "memory", "ctx", INT, AT(ctx), 1, 1 << 24 },
    { "memory", "kv-type", TEXT, AT(kv_type), 0, 0 },
    { "tls", "cert", TEXT, AT(tls_cert), 0, 0 },
    { "tls", "key", TEXT, AT(tls_key), 0, 0 },
    { "tls", "client-ca", TEXT, AT(tls_client_ca), 0, 0 },
    { "auth", "api-key-file", TEXT, AT(api_key_file), 0, 0 },
    { "auth", "allowed-hosts", TEXTS, AT(allowed_hosts), 0, 0 },
    { "auth", "cors-origin", TEXT, AT(cors_origin), 0, 0 },
    { "auth.oidc", "issuer", TEXT, AT(oidc.issuer), 0, 0 },
    { "auth.oidc", "audience", TEXT, AT(oidc.audience), 0, 0 },
    { "auth.oidc", "jwks", TEXT, AT(oidc.jwks), 0, 0 },
    { "auth.oidc", "tenant", TEXT, AT(oidc.tenant), 0, 0 },
    { "auth.oidc", "tenant-claim", TEXT, AT(oidc.tenant_claim), 0, 0 },
    { "auth.oidc", "team-claim", TEXT, AT(oidc.team_claim), 0, 0 },
    { "auth.oidc", "roles-claim", TEXT, AT(oidc.roles_claim), 0, 0 },
    { "auth.oidc", "scopes-claim", TEXT, AT(oidc.scopes_claim), 0, 0 },
    { "auth.oidc", "scope", TEXT, AT(oidc.scope), 0, 0 },
    { "auth.oidc", "admin-role", TEXT, AT(oidc.admin_role), 0, 0 },
    { "auth.oidc", "auditor-role", TEXT, AT(oidc.auditor_role), 0, 0 },
    { "batches", "dir", TEXT, AT(batches), 0, 0 },
    { "ledger", "book", TEXT, AT(book), 0, 0 },
    { "lora", "dirs", TEXTS, AT(lora_dirs), 0, 0 },
    { "lora", "slots", INT, AT(lora_slots), 1, 16 },
    { "lora", "rank", INT, AT(lora_rank), 1, 512 },
    { "limits", "threads", INT, AT(threads), 1, 512 },
    { "limits", "batch", INT, AT(batch), 1, 1 << 16 },
    { "limits", "max-body", SIZE, AT(max_body), 0, 0 },
    { "limits", "connections", INT, AT(connections), 1, 60000 },
    { "limits", "drain-s", INT, AT(drain_s), 0, 86400 },
    { "limits", "load-wait-s", INT, AT(load_wait_s), 0, 86400 },
    { "limits", "matryoshka", BOOL, AT(matryoshka), 0, 0 },
    { "limits", "isa", TEXT, AT(isa), 0, 0 },
    { "trust", "dir", TEXT, AT(trust), 0, 0 },
    { "trust", "site", TEXT, AT(site), 0, 0 },
    { "trust", "jurisdiction", TEXT, AT(jurisdiction), 0, 0 },
    { "ranks", "count", INT, AT(ranks), 1, 64 },
    { "ranks", "hostfile", TEXT, AT(hostfile), 0, 0 },
    { "speed", "speculate", TEXT, AT(speculate), 0, 0 },
    { "speed", "target-itl-ms", INT, AT(itl_ms), 1, 600000 },
    { "speed", "target-ttft-ms", INT, AT(ttft_ms), 1, 600000 },
    { "nats", "url", TEXT, AT(nats), 0, 0 },
    { "nats", "name", TEXT, AT(name), 0, 0 },
    { "nats", "ca", TEXT, AT(nats_ca), 0, 0 },
    { "nats", "cert", TEXT, AT(nats_cert), 0, 0 },
    { "nats", "key", TEXT, AT(nats_key), 0, 0 },
    { "nats", "creds", TEXT, AT(nats_creds), 0, 0 },
    { "nats", "user", TEXT, AT(nats_user), 0, 0 },
    { "nats", "password", TEXT, AT(nats_password), 0, 0 },
    { "nats", "domain", TEXT, AT(nats_domain), 0, 0 },
    { "nats", "jurisdictions", TEXTS, AT(to_jurisdictions), 0, 0 },
    { "nats", "limits", BOOL, AT(fleet_limits), 0, 0 },
    { "nats", "bills", BOOL, AT(fleet_bills), 0, 0 },
    { "nats", "outside", BOOL, AT(fleet_outside), 0, 0 },
    { "nats", "secret-file", TEXT, AT(fleet_secret), 0, 0 },
    { "telemetry", "otlp", TEXT, AT(otlp), 0, 0 },
    { "telemetry", "service-name", TEXT, AT(service_name), 0, 0 },
    { "telemetry", "log-json", BOOL, AT(log_json), 0, 0 },
    { "telemetry", "log-requests", BOOL, AT(log_requests), 0, 0 },
};
static const char *const sections[] = { "memory", "tls", "auth", "auth.oidc", "limits", "ledger", "lora", "batches",
                                        "trust", "ranks", "speed", "telemetry", "nats" };
enum { KEYS_MAX = 24 };

static enum err_code set_texts(const struct yaml_doc *d, int line, const char *key, const json_t *v,
                               struct opt_strings *out, struct err *e)
{
    if (!json_is_array(v) || json_array_size(v) > OPT_LIST_MAX)
        return yaml_err(d, line, e, "'%s' must be a list of at most %d names", key, OPT_LIST_MAX);
    out->count = 0;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        if (!json_is_string(item))
            return yaml_err(d, yaml_line_at(d, v, i), e, "'%s' must be a list of names", key);
        out->v[out->count++] = json_string_value(item);
    }
    return ERR_OK;
}

/* A size is a whole number of bytes or text like 4G. */
static enum err_code set_size(const struct yaml_doc *d, int line, const char *key, const json_t *v, int64_t *out,
                              struct err *e)
{
    struct err why = { 0 };
    if (json_is_integer(v) && json_integer_value(v) >= 0)
        *out = json_integer_value(v);
    else if (!json_is_string(v))
        return yaml_err(d, line, e, "'%s' must be a size like 512M or 4G", key);
    else if (opt_parse_size(json_string_value(v), out, &why))
        return yaml_err(d, line, e, "'%s': %s", key, why.text);
    return ERR_OK;
}

static enum err_code set(const struct yaml_doc *d, const json_t *object, const struct setting *s,
                         struct serve_options *o, struct err *e)
{
    const json_t *v = json_object_get(object, s->key);
    void *field = (char *)o + s->offset;
    int line = yaml_line(d, object, s->key);
    if (!v)
        return ERR_OK;
    switch (s->kind) {
    case TEXT:
        if (!json_is_string(v))
            return yaml_err(d, line, e, "'%s' must be text", s->key);
        *(const char **)field = json_string_value(v);
        return ERR_OK;
    case BOOL:
        if (!json_is_boolean(v))
            return yaml_err(d, line, e, "'%s' must be true or false", s->key);
        *(bool *)field = json_is_true(v);
        return ERR_OK;
    case INT:
        if (!json_is_integer(v) || json_integer_value(v) < s->min || json_integer_value(v) > s->max)
            return yaml_err(d, line, e, "'%s' must be a whole number between %lld and %lld", s->key, (long long)s->min,
                            (long long)s->max);
        *(int64_t *)field = json_integer_value(v);
        return ERR_OK;
    case SIZE:
        return set_size(d, line, s->key, v, field, e);
    case LIST:
        if (!json_is_array(v))
            return yaml_err(d, line, e, "'%s' must be a list of names or mappings", s->key);
        for (size_t i = 0; i < json_array_size(v); i++)
            if (!json_is_string(json_array_get(v, i)) && !json_is_object(json_array_get(v, i)))
                return yaml_err(d, yaml_line_at(d, v, i), e, "'%s' must be a list of names or mappings", s->key);
        *(const json_t **)field = v;
        return ERR_OK;
    case TEXTS:
        return set_texts(d, line, s->key, v, field, e);
    }
    return ERR_OK;
}

/* The last part of a section's name when it stands directly in `parent` (NULL: at the top), else NULL. */
static const char *child_of(const char *section, const char *parent)
{
    size_t n = parent ? strlen(parent) : 0;
    const char *rest = !parent ? section : !strncmp(section, parent, n) && section[n] == '.' ? section + n + 1 : NULL;
    return rest && !strchr(rest, '.') ? rest : NULL;
}

/* The object of "a.b" in the file, or NULL; *line: where it begins. */
static const json_t *find_section(const struct yaml_doc *d, const char *section, int *line)
{
    const char *dot = strchr(section, '.');
    const json_t *in = d->root;
    for (size_t i = 0; dot && i < MEM_COUNT(sections); i++) /* what it stands in is a section as well */
        if (strlen(sections[i]) == (size_t)(dot - section) && !strncmp(sections[i], section, (size_t)(dot - section)))
            in = json_object_get(in, sections[i]);
    *line = yaml_line(d, in, dot ? dot + 1 : section);
    return json_object_get(in, dot ? dot + 1 : section);
}

/* The keys a section (NULL: the top) may have, ended by NULL. */
static void known_keys(const char *section, const char **out)
{
    int n = 0;
    for (size_t i = 0; i < MEM_COUNT(settings); i++) {
        const char *of = settings[i].section;
        if (section ? of && !strcmp(of, section) : !of)
            out[n++] = settings[i].key;
    }
    for (size_t i = 0; i < MEM_COUNT(sections); i++)
        if (child_of(sections[i], section))
            out[n++] = child_of(sections[i], section);
    out[n] = NULL;
}

static enum err_code read_section(const struct yaml_doc *d, const char *section, const json_t *object, int line,
                                  struct serve_options *o, struct err *e)
{
    const char *known[KEYS_MAX];
    known_keys(section, known);
    if (!json_is_object(object))
        return yaml_err(d, line, e, "%s%smust be a mapping of keys",
                        section ? section : "the file", " ");
    enum err_code c = yaml_refuse_unknown(d, object, known, e);
    for (size_t i = 0; !c && i < MEM_COUNT(settings); i++) {
        const char *of = settings[i].section;
        if (section ? of && !strcmp(of, section) : !of)
            c = set(d, object, &settings[i], o, e);
    }
    return c;
}

enum err_code serve_config_read(const char *path, struct yaml_doc *doc, struct serve_options *o, struct err *e)
{
    enum err_code c = yaml_parse_file(path, doc, e);
    if (!c)
        c = read_section(doc, NULL, doc->root, 1, o, e);
    for (size_t i = 0; !c && i < MEM_COUNT(sections); i++) {
        int line;
        const json_t *object = find_section(doc, sections[i], &line);
        if (object)
            c = read_section(doc, sections[i], object, line, o, e);
    }
    return c;
}
