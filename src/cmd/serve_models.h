/* serve_models -- which models `serve` offers: from --model, --models and the configuration's `models`.
 *
 *     models:
 *       - NAME-or-FILE                       loaded at the start
 *       - file: NAME-or-FILE                 on demand unless `load: start`
 *         alias: fast                        or a list
 *         load: start                        or demand
 *         pinned: true                       loaded at the start and never unloaded
 *         keep-alive-s: 600                  unloaded after so long without a request
 *         ctx: 8192                    and kv-memory, kv-type, threads, batch, parallel: before the general ones
 *         draft: NAME-or-FILE                a small model of the same vocabulary that guesses for it
 *         lora: { NAME: FILE, ... }    LoRA adapters
 *         defaults: { temperature: 0.3, top_p: 0.9, top_k: 40, min_p: 0.05, max_tokens: 512, ... }
 *       - dir: /srv/models                   a folder, once; its options hold for every model in it
 */
#ifndef CMD_SERVE_MODELS_H
#define CMD_SERVE_MODELS_H
#include "cmd/serve_config.h"
#include "front/front.h"

struct serve_models; /* owns what *f borrows */
enum err_code serve_models_find(const struct serve_options *o, const struct yaml_doc *config, struct front_options *f,
                                struct serve_models **out, struct err *e);
void serve_models_free(struct serve_models *m);
#endif
