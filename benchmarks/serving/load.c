/* A load generator for HTTP/1.1 servers on 127.0.0.1: one thread, epoll, keep-alive connections, POST requests.
 *
 * --rate R > 0: open loop. Arrivals are Poisson, from --seed; latency counts from the INTENDED time of a request, so
 * that a server that stalls pays for those it keeps waiting. Arrivals that find all connections taken wait here, in
 * order. --rate 0: closed loop, --connections requests always under way; latency counts from sending.
 * Counted: requests intended (closed loop: ended) in the --seconds after --warmup. Sending stops then; what is under
 * way may still be answered for --drain seconds. One line of JSON on standard output says what happened, and how late
 * the generator itself was. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "sample.h"

enum { BODIES = 1024, HEADERS = 2048, EVENTS = 256, LATE_NS = 1000000 };
enum state { CLOSED, CONNECTING, IDLE, BUSY };

struct text { char *at; size_t size; };
struct connection {
    int fd;
    enum state state;
    double intended;
    const struct text *request;
    size_t sent;
    struct answer answer;
};

static struct text requests[BODIES];
static int request_count, next_request, poll_fd;
static struct connection *connections;
static int connection_count, opened, *idle, idle_count, under_way;
static double *backlog;
static size_t backlog_first, backlog_end, backlog_room;
static struct sample latencies, lags;
static double begins, ends, deadline_s, rate, no_connect_before;
static long statuses[STATUSES], errors, offered, within, refused;
static char first_failure[256];
static struct sockaddr_in server;

static void die(const char *what) { fprintf(stderr, "load: %s: %s\n", what, strerror(errno)); exit(2); }

static void *grown(void *old, size_t count, size_t size) {
    void *made = realloc(old, count * size);
    if (!made) die("memory");
    return made;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* SplitMix64 (Steele, Lea and Flood 2014), and from it exponential gaps. */
static uint64_t random_state;
static double gap(void) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return -log1p(-(double)((z ^ (z >> 31)) >> 11) * 0x1p-53) / rate;
}

static void wait_in_line(double intended) {
    if (backlog_end == backlog_room) {
        backlog_room = backlog_room ? 2 * backlog_room : 4096;
        backlog = grown(backlog, backlog_room, sizeof *backlog);
    }
    backlog[backlog_end++] = intended;
}

static int counts(double at) { return at >= begins && at < ends; }

/* A request is over: status 0 where it failed without one. */
static void finish(struct connection *c, int status) {
    double end = now(), took = end - c->intended;
    int counted = counts(rate > 0 ? c->intended : end);
    c->state = IDLE;
    under_way--;
    if (counted) {
        if (rate <= 0) offered++;
        if (status > 0) statuses[status]++; else errors++;
        if (status == 200) {
            sample_add(&latencies, took);
            within += took <= deadline_s;
        } else if (!first_failure[0]) {
            snprintf(first_failure, sizeof first_failure, "%.*s", (int)c->answer.head_size, c->answer.head);
        }
    }
    if (rate <= 0 && end < ends) wait_in_line(end);
}

static void drop(struct connection *c) {
    if (c->state == BUSY) finish(c, 0);
    for (int i = 0; i < idle_count; i++)
        if (idle[i] == (int)(c - connections)) { idle[i] = idle[--idle_count]; break; }
    if (c->state == CONNECTING) { refused++; no_connect_before = now() + 0.01; }
    close(c->fd);
    c->state = CLOSED;
    opened--;
}

static void write_request(struct connection *c) {
    while (c->sent < c->request->size) {
        ssize_t n = send(c->fd, c->request->at + c->sent, c->request->size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) { drop(c); return; }
        c->sent += n;
    }
}

static void start(struct connection *c, double intended) {
    c->intended = intended;
    c->request = &requests[next_request];
    next_request = (next_request + 1) % request_count;
    c->sent = 0;
    answer_reset(&c->answer);
    c->state = BUSY;
    under_way++;
    write_request(c);
}

static void open_connection(struct connection *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    opened++;
    struct epoll_event wish = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &wish)) die("epoll_ctl");
    /* Never blocks: a full accept queue must not stall the arrivals. */
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) drop(c);
}

static void read_answer(struct connection *c, int ended) {
    static char block[65536];
    while (c->state == BUSY) {
        ssize_t n = recv(c->fd, block, sizeof block, 0);
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) { drop(c); return; }
        switch (answer_take(&c->answer, block, (size_t)n)) {
            case BROKEN: drop(c); return;
            case PARTIAL: break;
            case COMPLETE:
                finish(c, c->answer.status);
                if (c->answer.closes) drop(c);
                else idle[idle_count++] = (int)(c - connections);
        }
    }
    if (ended && c->state != CLOSED) drop(c);
}

static void handle(struct connection *c, uint32_t events) {
    if (c->state == CLOSED) return;
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error || (events & (EPOLLERR | EPOLLHUP))) { drop(c); return; }
        if (!(events & EPOLLOUT)) return;
        c->state = IDLE;
        idle[idle_count++] = (int)(c - connections);
    }
    if (c->state == BUSY && (events & EPOLLOUT) && c->sent < c->request->size) write_request(c);
    if (c->state != CLOSED) read_answer(c, (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0);
}

/* Gives waiting requests to idle connections, the last used first, and opens others while any are missing. */
static void dispatch(double at) {
    while (backlog_first < backlog_end && idle_count) start(&connections[idle[--idle_count]], backlog[backlog_first++]);
    size_t missing = backlog_end - backlog_first;
    int connecting = opened - idle_count - under_way;
    if (at < no_connect_before) return;
    for (int i = 0; i < connection_count && opened < connection_count && (size_t)connecting < missing; i++)
        if (connections[i].state == CLOSED) { open_connection(&connections[i]); connecting++; }
}

/* Puts what is due in line. */
static void arrive(double *next, double at) {
    for (; *next <= at && *next < ends; *next += gap()) {
        if (counts(*next)) { sample_add(&lags, at - *next); offered++; }
        wait_in_line(*next);
    }
}

static void report(double began, long unanswered, long never_sent) {
    struct rusage used;
    size_t late = 0;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    for (size_t i = 0; i < lags.size; i++) late += lags.at[i] > LATE_NS * 1e-9;
    for (char *c = first_failure; *c; c++) if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\') *c = ' ';
    printf("{\"rate\": %.3f, \"seconds\": %.6f, \"wall_s\": %.6f, \"cpu_s\": %.6f, \"offered\": %ld, \"errors\": %ld, "
           "\"unanswered\": %ld, \"never_sent\": %ld, \"refused\": %ld, \"within\": %ld, \"late\": %zu, \"status\": {",
           rate, ends - begins, now() - began, cpu, offered, errors, unanswered, never_sent, refused, within, late);
    for (int i = 0, first = 1; i < STATUSES; i++)
        if (statuses[i]) { printf("%s\"%d\": %ld", first ? "" : ", ", i, statuses[i]); first = 0; }
    printf("}");
    sample_print(&latencies, "latency_ms");
    sample_print(&lags, "lag_ms");
    printf(", \"first_failure\": \"%s\"}\n", first_failure);
}

static void add_request(const char *file, const char *path, const char *type, const char *headers) {
    FILE *f = fopen(file, "rb");
    if (!f || fseek(f, 0, SEEK_END)) die(file);
    long size = ftell(f);
    rewind(f);
    char *at = grown(NULL, size + HEADERS + strlen(path) + strlen(type) + strlen(headers), 1);
    int head = sprintf(at, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\nContent-Length: %ld\r\n%s\r\n",
                       path, ntohs(server.sin_port), type, size, headers);
    if (fread(at + head, 1, size, f) != (size_t)size) die(file);
    fclose(f);
    requests[request_count++] = (struct text){at, head + size};
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"path", 1, 0, 'u'}, {"type", 1, 0, 't'}, {"header", 1, 0, 'h'}, {"body", 1, 0, 'b'},
        {"rate", 1, 0, 'r'}, {"connections", 1, 0, 'c'}, {"warmup", 1, 0, 'w'}, {"seconds", 1, 0, 's'},
        {"drain", 1, 0, 'd'}, {"deadline-ms", 1, 0, 'l'}, {"seed", 1, 0, 'x'}, {0}};
    const char *path = "/", *type = "application/json", *files[BODIES];
    char headers[HEADERS] = "";
    double warmup = 0, seconds = 1, drain = 1;
    int option, file_count = 0;
    connection_count = 1, deadline_s = 0.1, random_state = 1;
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) switch (option) {
        case 'p': server.sin_port = htons(atoi(optarg)); break;
        case 'u': path = optarg; break;
        case 't': type = optarg; break;
        case 'h':
            if (strlen(headers) + strlen(optarg) + 3 > HEADERS) die("headers");
            strcat(strcat(headers, optarg), "\r\n");
            break;
        case 'b': if (file_count < BODIES) files[file_count++] = optarg; break;
        case 'r': rate = atof(optarg); break;
        case 'c': connection_count = atoi(optarg); break;
        case 'w': warmup = atof(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'd': drain = atof(optarg); break;
        case 'l': deadline_s = atof(optarg) / 1e3; break;
        case 'x': random_state = strtoull(optarg, NULL, 10); break;
        default: return 2;
    }
    if (!file_count || !server.sin_port || connection_count < 1) { fprintf(stderr, "load: --port and --body\n"); return 2; }
    for (int i = 0; i < file_count; i++) add_request(files[i], path, type, headers);
    connections = calloc(connection_count, sizeof *connections);
    idle = calloc(connection_count, sizeof *idle);
    poll_fd = epoll_create1(0);
    if (!connections || !idle || poll_fd < 0) die("start");
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);   /* else Linux wakes up to 50 us late */

    double began = now(), at = began, next;
    begins = began + warmup, ends = begins + seconds;
    next = rate > 0 ? began + gap() : INFINITY;
    for (int i = 0; rate <= 0 && i < connection_count; i++) wait_in_line(began);
    struct epoll_event events[EVENTS];
    while (at < ends || (under_way && at < ends + drain)) {
        arrive(&next, at);
        if (at < ends) dispatch(at);
        double until = at < ends ? fmin(fmin(next, ends), at + 0.01) : at + 0.01, pause = fmax(0, until - now());
        struct timespec timeout = {0, (long)(pause * 1e9)};
        int n = epoll_pwait2(poll_fd, events, EVENTS, &timeout, NULL);
        if (n < 0 && errno != EINTR) die("epoll_pwait2");
        for (int i = 0; i < n; i++) handle(events[i].data.ptr, events[i].events);
        at = now();
    }
    arrive(&next, at);
    long unanswered = 0, never_sent = 0;
    for (int i = 0; i < connection_count; i++)
        unanswered += connections[i].state == BUSY && (rate <= 0 || counts(connections[i].intended));
    for (size_t i = backlog_first; i < backlog_end && rate > 0; i++) never_sent += counts(backlog[i]);
    report(began, unanswered, never_sent);
    return 0;
}
