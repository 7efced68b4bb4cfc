/* Values of which the quantiles are wanted. */
#ifndef SAMPLE_H
#define SAMPLE_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct sample { double *at; size_t size, room; };

static void sample_add(struct sample *s, double value) {
    if (s->size == s->room) {
        s->room = s->room ? 2 * s->room : 4096;
        s->at = realloc(s->at, s->room * sizeof *s->at);
        if (!s->at) { fprintf(stderr, "load: out of memory\n"); exit(2); }
    }
    s->at[s->size++] = value;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Prints a member of a JSON object; nearest rank, seconds as milliseconds. */
static void sample_print(struct sample *s, const char *name) {
    static const struct { const char *name; double p; } wanted[] = {
        {"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    if (s->size) qsort(s->at, s->size, sizeof *s->at, ascending);
    printf(", \"%s\": {\"n\": %zu", name, s->size);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && s->size; i++) {
        size_t rank = (size_t)ceil(wanted[i].p * s->size);
        printf(", \"%s\": %.4f", wanted[i].name, s->at[rank ? rank - 1 : 0] * 1e3);
    }
    printf("}");
}
#endif
