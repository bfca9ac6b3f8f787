/* frame_test -- the layout of frame.h byte by byte, hostile headers, and descriptors over a real socketpair. */
#include "../../fuzz/frame.c"
#include "../fuzz.h"
#include "../test.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "wire/frame.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* From the table in frame.h, by hand: length 3, version 1, kind data (4), flags 2, id, attempt, seq, "abc". */
static const char golden[] = "\x03\x00\x00\x00" "\x01" "\x04" "\x02\x00"
                             "\x08\x07\x06\x05\x04\x03\x02\x01" "\x0d\x0c\x0b\x0a"
                             "\x18\x17\x16\x15\x14\x13\x12\x11" "abc";
enum { GOLDEN_BYTES = sizeof golden - 1 };

static const struct frame golden_frame = {
    .kind = FRAME_DATA, .flags = FRAME_TOKENS, .id = 0x0102030405060708u, .attempt = 0x0a0b0c0du,
    .seq = 0x1112131415161718u, .payload = "abc", .length = 3,
};

static void layout(void)
{
    struct buf b = { 0 };
    frame_write(&b, &golden_frame);
    CHECK_INT(b.len, GOLDEN_BYTES);
    CHECK(b.len == GOLDEN_BYTES && !memcmp(b.data, golden, b.len));
    struct frame f;
    CHECK_INT(frame_parse(b.data, b.len, &f, NULL), GOLDEN_BYTES);
    CHECK_INT(f.kind, FRAME_DATA);
    CHECK_INT(f.flags, FRAME_TOKENS);
    CHECK(f.id == golden_frame.id && f.attempt == golden_frame.attempt && f.seq == golden_frame.seq);
    CHECK(f.length == 3 && !memcmp(f.payload, "abc", 3));
    buf_release(&b);
}

static void every_prefix_wants_more(void)
{
    struct frame f;
    struct err e = { 0 };
    for (size_t n = 0; n < GOLDEN_BYTES; n++)
        CHECK_INT(frame_parse(golden, n, &f, &e), 0);
    CHECK_STR(e.text, "");
}

static long parse_with(size_t at, unsigned char value, struct err *e)
{
    char copy[GOLDEN_BYTES];
    struct frame f;
    memcpy(copy, golden, sizeof copy);
    copy[at] = (char)value;
    return frame_parse(copy, sizeof copy, &f, e);
}

static void hostile_headers(void)
{
    struct err e = { 0 };
    CHECK_INT(parse_with(4, 2, &e), -1);
    CHECK(strstr(e.text, "version 2"));
    CHECK_INT(parse_with(5, 0, &e), -1);
    CHECK_INT(parse_with(5, FRAME_TRUST + 1, &e), -1);
    CHECK_INT(parse_with(5, 255, &e), -1);
    CHECK_INT(parse_with(3, 0xff, &e), -1); /* 4 GiB announced: refused at once, not waited for */
    CHECK_INT(parse_with(2, 0x10, &e), -1); /* FRAME_PAYLOAD_MAX + 3 */
    CHECK_INT(e.code, ERR_CORRUPT);
}

static void random_streams_round_trip(void)
{
    struct rng r = { .seed = 7 };
    char noise[300];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)rng_next(&r);
    for (int round = 0; round < 200; round++) {
        struct buf b = { 0 };
        struct frame sent[8];
        for (int i = 0; i < 8; i++) {
            sent[i] = (struct frame){ .kind = (enum frame_kind)(1 + rng_below(&r, FRAME_TRUST)),
                                      .flags = (uint16_t)rng_next(&r), .id = rng_next(&r),
                                      .attempt = (uint32_t)rng_next(&r), .seq = rng_next(&r), .payload = noise,
                                      .length = rng_below(&r, sizeof noise) };
            frame_write(&b, &sent[i]);
        }
        size_t at = 0;
        for (int i = 0; i < 8; i++) {
            struct frame f = { 0 };
            long n = frame_parse(b.data + at, b.len - at, &f, NULL);
            CHECK(n > 0 && f.kind == sent[i].kind && f.flags == sent[i].flags && f.id == sent[i].id &&
                  f.attempt == sent[i].attempt && f.seq == sent[i].seq && f.length == sent[i].length &&
                  !memcmp(f.payload, noise, f.length));
            at += n > 0 ? (size_t)n : 0;
        }
        CHECK_INT(at, b.len);
        buf_release(&b);
    }
}

static void pair(int s[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
}

static int count_open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Three frames sent at once; the descriptor belongs to the second and must come with it, not with the first. */
static void descriptors_stay_with_their_frame(void)
{
    int s[2], fds[FRAME_FDS_MAX], count = -1, before = count_open_fds();
    struct frame f = golden_frame;
    struct buf in = { 0 };
    struct stat want, got;
    pair(s);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_INT(frame_send(s[0], &f, NULL, 0, NULL), ERR_OK);
    CHECK_INT(frame_send(s[0], &f, (int[]){ file, file }, 2, NULL), ERR_OK);
    CHECK_INT(frame_send(s[0], &f, NULL, 0, NULL), ERR_OK);
    CHECK_INT(frame_recv(s[1], &in, &f, fds, &count, NULL), ERR_OK);
    CHECK_INT(count, 0);
    CHECK_INT(frame_recv(s[1], &in, &f, fds, &count, NULL), ERR_OK);
    CHECK_INT(count, 2);
    CHECK(!fstat(file, &want) && !fstat(fds[1], &got) && want.st_ino == got.st_ino);
    CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    close(fds[0]);
    close(fds[1]);
    CHECK_INT(frame_recv(s[1], &in, &f, fds, &count, NULL), ERR_OK);
    CHECK_INT(count, 0);
    CHECK(f.length == 3 && !memcmp(f.payload, "abc", 3));
    CHECK_INT(frame_send(s[0], &f, &file, 1, NULL), ERR_OK); /* nobody wants it: it must not leak */
    CHECK_INT(frame_recv(s[1], &in, &f, NULL, NULL, NULL), ERR_OK);
    close(file);
    close(s[0]);
    close(s[1]);
    buf_release(&in);
    CHECK_INT(count_open_fds(), before);
}

static void end_of_stream(void)
{
    int s[2];
    struct frame f;
    struct buf in = { 0 };
    struct err e = { 0 };
    pair(s);
    CHECK_INT(frame_send(s[0], &golden_frame, NULL, 0, &e), ERR_OK);
    CHECK_INT(write(s[0], golden, 10), 10);
    close(s[0]);
    CHECK_INT(frame_recv(s[1], &in, &f, NULL, NULL, &e), ERR_OK);
    CHECK_INT(frame_recv(s[1], &in, &f, NULL, NULL, &e), ERR_CORRUPT);
    CHECK_INT(frame_recv(s[1], &in, &f, NULL, NULL, &e), ERR_NOT_FOUND);
    CHECK(frame_send(s[1], &golden_frame, NULL, 0, &e) == ERR_IO); /* and no SIGPIPE */
    close(s[1]);
    buf_release(&in);
}

static void *send_large(void *arg)
{
    char *bytes = mem_new(FRAME_PAYLOAD_MAX, 1);
    memset(bytes, 'x', FRAME_PAYLOAD_MAX);
    struct frame f = { .kind = FRAME_REQUEST, .flags = FRAME_MORE, .id = 9, .payload = bytes,
                       .length = FRAME_PAYLOAD_MAX };
    for (int i = 0; i < 4; i++, f.seq++)
        frame_send(*(int *)arg, &f, NULL, 0, NULL);
    mem_free(bytes);
    return NULL;
}

/* Larger than any socket buffer: partial sends and receives. */
static void large_frames(void)
{
    int s[2];
    pthread_t t;
    struct frame f;
    struct buf in = { 0 };
    pair(s);
    CHECK_INT(pthread_create(&t, NULL, send_large, &s[0]), 0);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_INT(frame_recv(s[1], &in, &f, NULL, NULL, NULL), ERR_OK);
        CHECK(f.seq == i && f.length == FRAME_PAYLOAD_MAX && f.payload[0] == 'x' &&
              f.payload[FRAME_PAYLOAD_MAX - 1] == 'x');
    }
    pthread_join(t, NULL);
    close(s[0]);
    close(s[1]);
    buf_release(&in);
}

static void fuzzed(void)
{
    CHECK(fuzz_run("fuzz/corpus/frame", 20000, LLVMFuzzerTestOneInput) > 20000);
}

int main(void)
{
    RUN(layout);
    RUN(every_prefix_wants_more);
    RUN(hostile_headers);
    RUN(random_streams_round_trip);
    RUN(descriptors_stay_with_their_frame);
    RUN(end_of_stream);
    RUN(large_frames);
    RUN(fuzzed);
    DONE();
}
