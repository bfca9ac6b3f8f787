/* tokenworks -- the embedding API: a language model inside your own program, in one process.
 *
 *     struct tw_error e;
 *     struct tw_engine *engine = tw_open(&(struct tw_options){ .model = "model.gguf" }, &e);
 *     struct tw_session *s = tw_session_new(engine, NULL, &e);
 *     tw_say(s, "Who wrote Romeo and Juliet?", print, NULL, NULL, &e);
 *
 * Two nouns: an engine is a loaded model with its memory; a session is a conversation on it. A conversation's
 * earlier turns are not computed again while the engine's KV memory remembers them. Answers are those of the
 * server: the same request, build and seed give the same tokens.
 *
 * Threads: any thread may call; calls on one engine run one after the other. Strings are UTF-8. What a function
 * returns NULL or false for is said in tw_error.text, one sentence. Link with -ltokenworks and what
 * `pkg-config --static --libs tokenworks` names. */
#ifndef TOKENWORKS_H
#define TOKENWORKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tw_engine;
struct tw_session;

struct tw_error {
    int status;     /* as HTTP would say it: 400 the request is wrong, 404, 413, 500 ... */
    char text[400]; /* one sentence that says what to do */
};

/* Zero fields mean the default. */
struct tw_options {
    const char *model;   /* path of a GGUF file */
    int threads;         /* processors this process may use */
    int context;         /* tokens a conversation may have; what the model was trained for, if memory allows */
    size_t kv_memory;    /* bytes that hold conversations; a quarter of what is free */
    const char *isa;     /* cap on the instruction sets used: "ref", "avx2", "avx512", "amx" */
    void (*progress)(void *arg, double fraction); /* while loading */
    void *progress_arg;
};

/* NULL and *e on failure. */
struct tw_engine *tw_open(const struct tw_options *options, struct tw_error *e);
/* Sessions must be freed first. NULL is allowed. */
void tw_close(struct tw_engine *engine);
/* A JSON object: id, arch, ctx, params, weight_bytes, isa ... Borrowed; lives as long as the engine. */
const char *tw_facts(const struct tw_engine *engine);

/* Gets text as it is generated: n bytes, whole UTF-8 characters, not NUL-terminated. false stops the answer. */
typedef bool tw_text_fn(void *arg, const char *text, size_t n);

/* Zero fields mean the default. */
struct tw_session_options {
    const char *system;   /* the system message, or NULL */
    int max_tokens;       /* of one answer; until the context is full */
    float temperature;    /* 0 is the default here and means greedy: the likeliest token each time */
    float top_p, min_p;   /* 0: off */
    int top_k;            /* 0: off */
    uint64_t seed;        /* 0: chosen anew for each answer */
    int timeout_ms;       /* of one answer, for those with a deadline: it ends with finish "timeout"; 0: none */
};

/* options may be NULL; its strings are copied. */
struct tw_session *tw_session_new(struct tw_engine *engine, const struct tw_session_options *options,
                                  struct tw_error *e);
void tw_session_free(struct tw_session *session); /* NULL is allowed */
void tw_session_clear(struct tw_session *session); /* forgets the conversation, keeps the system message */

struct tw_reply {
    int prompt_tokens, cached_tokens, completion_tokens;
    char finish[16];      /* "stop", "length", "cancelled" (on_text said false) or "timeout" */
    double first_ms;      /* until the first token */
    double total_ms;
};

/* Adds the user's message, streams the answer to on_text (may be NULL) and keeps it as the assistant's message.
 * On failure the conversation is as it was. reply may be NULL. */
bool tw_say(struct tw_session *session, const char *user, tw_text_fn *on_text, void *arg, struct tw_reply *reply,
            struct tw_error *e);
/* The conversation so far as OpenAI messages JSON; the caller frees it with free(). */
char *tw_session_messages(const struct tw_session *session);

/* A whole OpenAI request in process: path "/v1/chat/completions" or "/v1/completions", body its JSON. The bytes a
 * client would receive go to on_bytes: one JSON object, or server-sent events when the body says "stream": true. */
bool tw_request(struct tw_engine *engine, const char *path, const char *body, tw_text_fn *on_bytes, void *arg,
                struct tw_reply *reply, struct tw_error *e);

const char *tw_version(void);

#ifdef __cplusplus
}
#endif
#endif
