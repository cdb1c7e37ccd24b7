/* Ranks in a program without MPI: there is one. Contract: tools/common/ranks.h. */
#define _GNU_SOURCE
#include "ranks.h"

static int64_t counter;

void ms_ranks_begin(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
}

int ms_ranks_end(int status) { return status; }
int ms_ranks_index(void) { return 0; }
int ms_ranks_count(void) { return 1; }

void ms_ranks_broadcast(int from, void *bytes, size_t n) {
    (void)from;
    (void)bytes;
    (void)n;
}

void ms_ranks_least(int64_t *values, int n) {
    (void)values;
    (void)n;
}

void ms_ranks_sum(int64_t *values, int n) {
    (void)values;
    (void)n;
}

/* Nobody is there to send to, or to hear from. */
void ms_ranks_send(int to, const void *bytes, size_t n) {
    (void)to;
    (void)bytes;
    (void)n;
}

size_t ms_ranks_expect(int from) {
    (void)from;
    return 0;
}

void ms_ranks_receive(int from, void *bytes, size_t n) {
    (void)from;
    (void)bytes;
    (void)n;
}

void ms_ranks_counter_open(void) { counter = 0; }

int64_t ms_ranks_counter_add(int64_t n) {
    int64_t before = counter;
    counter += n;
    return before;
}

void ms_ranks_counter_close(void) {}
