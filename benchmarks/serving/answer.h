/* One HTTP/1.1 answer as it arrives: its status, and where it ends. */
#ifndef ANSWER_H
#define ANSWER_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD = 8192, STATUSES = 600 };
enum progress { BROKEN, PARTIAL, COMPLETE };

struct answer {
    char head[HEAD];
    size_t head_size;
    int headed;           /* the head is complete */
    int status, chunked, closes;
    long left;            /* bytes of the body to come; of a chunked one 1 until its end */
    char tail[5];         /* the last bytes of a chunked body */
};

static void answer_reset(struct answer *a) {
    a->head_size = a->headed = a->status = a->chunked = a->closes = a->left = 0;
    memset(a->tail, 0, sizeof a->tail);
}

/* Reads a complete head, whose blank line begins at `end`. */
static void answer_parse(struct answer *a, char *end) {
    *end = 0;
    if (sscanf(a->head, "HTTP/1.%*d %d", &a->status) != 1) a->status = 0;
    for (char *line = strstr(a->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15)) a->left = atol(line + 15);
        if (!strncasecmp(line, "transfer-encoding: chunked", 26)) a->chunked = a->left = 1;
        if (!strncasecmp(line, "connection: close", 17)) a->closes = 1;
    }
    *end = '\r';
    a->headed = 1;
}

/* A chunked body ends with an empty chunk: nothing of JSON looks like one at the end of what was received. */
static void answer_body(struct answer *a, const char *at, size_t size) {
    if (!a->chunked) { a->left -= (long)size; return; }
    for (size_t i = size > sizeof a->tail ? size - sizeof a->tail : 0; i < size; i++) {
        memmove(a->tail, a->tail + 1, sizeof a->tail - 1);
        a->tail[sizeof a->tail - 1] = at[i];
    }
    a->left = memcmp(a->tail, "0\r\n\r\n", sizeof a->tail) != 0;
}

/* Takes what was received. BROKEN: no HTTP, a head too long, or more body than was announced. */
static enum progress answer_take(struct answer *a, const char *block, size_t size) {
    if (!a->headed) {
        size_t before = a->head_size, taken = size < HEAD - before ? size : HEAD - before;
        memcpy(a->head + before, block, taken);
        a->head_size += taken;
        char *end = memmem(a->head, a->head_size, "\r\n\r\n", 4);
        if (!end) return a->head_size == HEAD ? BROKEN : PARTIAL;
        answer_parse(a, end);
        if (a->status < 100 || a->status >= STATUSES) return BROKEN;
        size_t used = end + 4 - a->head - before;
        block += used, size -= used;
    }
    answer_body(a, block, size);
    return a->left < 0 ? BROKEN : a->left ? PARTIAL : COMPLETE;
}
#endif
