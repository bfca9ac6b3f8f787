/* embed -- a complete program that asks a model a question: cc embed.c $(pkg-config --cflags --static --libs tokenworks) */
#include <stdio.h>
#include <tokenworks.h>

static bool print(void *arg, const char *text, size_t n)
{
    fwrite(text, 1, n, stdout);
    fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: embed MODEL.gguf QUESTION\n");
        return 2;
    }
    struct tw_error e;
    struct tw_engine *engine = tw_open(&(struct tw_options){ .model = argv[1] }, &e);
    if (!engine) {
        fprintf(stderr, "embed: %s\n", e.text);
        return 1;
    }
    struct tw_session_options options = {
        .system = "You answer in one short sentence.",
        .max_tokens = 60,
        .timeout_ms = 60000,
    };
    struct tw_session *session = tw_session_new(engine, &options, &e);
    struct tw_reply reply;
    bool ok = session && tw_say(session, argv[2], print, NULL, &reply, &e);
    if (ok)
        printf("\n%d tokens, the first after %.0f ms\n", reply.completion_tokens, reply.first_ms);
    else
        fprintf(stderr, "embed: %s\n", e.text);
    tw_session_free(session);
    tw_close(engine);
    return ok ? 0 : 1;
}
