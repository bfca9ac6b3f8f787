/* provider_config -- the file of `tokenworks provider`: who the outside service is, what it offers, what was agreed.
 *
 *     url: https://api.example.com/v1
 *     key-file: FILE                      a line with the key; or $TOKENWORKS_PROVIDER_KEY; without either none is sent
 *     ca: FILE                            certificates to trust instead of the system's
 *     models:
 *       - { id: large, upstream: vendor-large-1, ctx: 131072, price: { prompt: 0.25, cached: 0.03, completion: 2 } }
 *     promised: { availability: 99.9, ttft-ms: 800, tokens-per-s: 50 }
 *     limits: { at-once: 64, timeout-s: 600 }
 *
 * Prices are units of currency for a million tokens. An unknown key, a wrong type or a value out of bounds is refused
 * with its line. */
#ifndef CMD_PROVIDER_CONFIG_H
#define CMD_PROVIDER_CONFIG_H
#include "base/yaml.h"
#include "fleet/provider.h"

/* *doc holds the strings of *o: release it last. *key_file: borrowed from *doc, or NULL. */
enum err_code provider_config_read(const char *path, struct yaml_doc *doc, struct provider_options *o,
                                   const char **key_file, struct err *e);
#endif
