/* vectors -- jobs whose answer is vectors, not text: what embeddings, rerank and their kin share.
 *
 * A reader calls api_vectors_begin, then api_vectors_text or _pair for each text; the runner hands in a vector for
 * each; the writer's `whole` asks api_vectors_unit for them. docs/embeddings.md says what the fields mean. */
#ifndef API_VECTORS_H
#define API_VECTORS_H
#include "api/job.h"

enum {
    API_INPUTS_MAX = 2048,     /* texts in a request, as OpenAI has it */
    API_FLOATS_MAX = 4 << 20,  /* numbers in an answer */
};

struct api_vector {
    float *v;    /* [n], owned; NULL until it is here */
    int n;
    int second;  /* where the second of two texts begins; 0: there is one */
};

struct api_vectors {
    enum model_pooling how;
    int room;                  /* prompts the job has place for */
    int keep;                  /* tokens a text may have; more is refused, or cut if cut is set */
    bool cut, cut_end;         /* what is too long loses its beginning, or with cut_end its end */
    int cut_tokens;            /* that were lost, all texts together */
    struct api_vector *of;     /* [prompt_count] */
    /* embeddings.c */
    bool base64, normalize;
    int dimensions;            /* 0: all */
    /* rerank.c */
    json_t *documents;         /* as they came */
    int top_n;
    bool return_documents;
};

/* Makes room for `count` texts; how: what the body's "pooling" says, or the model's. Reads truncate_prompt_tokens and
 * truncation_side. */
bool api_vectors_begin(struct api_job *j, const json_t *body, int count, struct api_error *error);
/* A text with the tokens its model wants round it; text with control tokens' names in it stays text. */
bool api_vectors_text(struct api_job *j, const char *text, size_t n, const char *param, struct api_error *error);
/* Token ids as they are. */
bool api_vectors_ids(struct api_job *j, const json_t *ids, const char *param, struct api_error *error);
/* Query and document as a cross-encoder wants them; only the document is ever cut. */
bool api_vectors_pair(struct api_job *j, const json_t *query, const json_t *document, const char *param,
                      struct api_error *error);
/* The last step: room for the answers. */
void api_vectors_ready(struct api_job *j);
void api_vectors_free(struct api_job *j);
/* Scales v to length 1; a vector of zeros stays. */
void api_vector_unit(float *v, int n);
/* embeddings.c: one vector as the request wants it. */
void api_vector_write(const struct api_job *j, const struct api_vector *x, struct buf *out);

bool api_embeddings_read(struct api_job *j, const json_t *body, struct api_error *error);
bool api_ollama_embed_read(struct api_job *j, const json_t *body, struct api_error *error);
bool api_rerank_read(struct api_job *j, const json_t *body, struct api_error *error);
extern const struct api_writer api_write_embeddings, api_write_rerank, api_write_ollama_embed;
#endif
