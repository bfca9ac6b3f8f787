/* translate -- the other dialects: a route's body is rewritten as a chat (or completion) body, which the readers of
 * those obey; what they refuse is renamed into the client's own terms.
 *
 *   body --fields of the dialect--> translate --canonical body--> fields.c, sampling.c, structured.c, chat.c
 *                                                                     `--refused--> names, origins --> the client */
#ifndef API_TRANSLATE_H
#define API_TRANSLATE_H
#include "api/job.h"

struct api_name {
    const char *ours, *theirs; /* "max_tokens", "options.num_predict" */
};

struct api_route {
    const char *method, *path; /* a path ending in '*': whatever begins so */
    enum api_dialect form;     /* of the canonical body */
    const struct api_writer *writer;
    /* Fills *chat with a new reference, or leaves it NULL when j->ready already holds the answer. NULL: the body is
     * canonical as it is. */
    bool (*translate)(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error);
    /* What is left to do with the prompts once they are tokens; or NULL. */
    bool (*after)(struct api_job *j, struct api_error *error);
    /* The answer needs no generation, only the prompt: fills j->ready. Or NULL. */
    void (*count)(struct api_job *j);
    /* No body: answers from the path, what follows the '*' of which is `rest`. Or NULL. */
    bool (*find)(struct api_job *j, const char *rest, struct api_error *error);
    /* The answer is vectors: reads the whole body. Or NULL. */
    bool (*vectors)(struct api_job *j, const json_t *body, struct api_error *error);
    const struct api_name *names; /* ends with a NULL; or NULL */
};

/* Every route this floor answers. */
const struct api_route *api_route_find(const char *method, const char *path); /* NULL: none */
/* A refusal of the canonical readers in the client's words. */
void api_rename(const struct api_job *j, struct api_error *error);

/* ---- for the translators */

/* Copies a field that is there and not null. */
void api_copy(const json_t *from, const char *key, json_t *to, const char *as);
/* A new message at the end of the canonical list; where: its path in the client's body. Borrowed. */
json_t *api_add_message(struct api_job *j, json_t *messages, const char *role, const char *where);
/* A text part at the end of a message's content, which is a list of parts. */
void api_add_text(json_t *message, const json_t *text);
/* A tool call of an earlier assistant message; arguments: any JSON value, dumped, or a string, taken as it is. */
void api_add_call(json_t *message, const json_t *id, const json_t *name, const json_t *arguments);
/* {"type":"function","function":{...}} of a name, a description and a schema, each of which may be NULL. */
json_t *api_function(const json_t *name, const json_t *description, const json_t *parameters);
/* A schema as response_format. */
json_t *api_schema_format(const json_t *schema, const json_t *name, const json_t *strict);

bool api_translate_messages(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error);
bool api_translate_count(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error);
void api_count_tokens(struct api_job *j);
bool api_translate_ollama_chat(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error);
bool api_translate_generate(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error);
bool api_prompt_context(struct api_job *j, struct api_error *error);
bool api_translate_responses(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error);
bool api_translate_input_tokens(struct api_job *j, const json_t *body, json_t **chat, struct api_error *error);
void api_count_input_tokens(struct api_job *j);
bool api_find_response(struct api_job *j, const char *rest, struct api_error *error);
bool api_delete_response(struct api_job *j, const char *rest, struct api_error *error);
extern const struct api_name api_names_messages[], api_names_ollama[], api_names_responses[], api_names_functions[];
#endif
