/* What bench/serve_load.py compares a server with: the same queries, answered by the library alone.
 *
 *   serve_alone [options] CORPUS.npy QUERY.mid...
 *     --notes FILE  --model FILE  --mode find|likeness|both  --k N  --keys all|own
 *     --threads N (each answers queries of its own, as a worker of the server)  --requests N
 *     --no-report (the matches alone, not what a page shows of them)
 *
 * Each query does what a request does: its notes are read from memory, pieces and rows are found,
 * and the report of both is written as JSON. Opening is not counted. One JSON object on standard
 * output: answers, bytes, seconds, processor (user and system), p50 and p99 in seconds. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/mem.h"
#include "midisim.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { SERVER_K = 100 }; /* the server's searcher gives as many rows as anyone may ask for */

typedef struct {
    unsigned char *bytes;
    size_t n;
} query_file;

static struct {
    const char *corpus, *notes, *model, *mode;
    int64_t k, threads, requests;
    bool is_own_key, has_report;
} s = {.mode = "find", .k = 8, .threads = 2, .requests = 100, .has_report = true};

static msim_corpus *corpus;
static msim_notes *notes;
static msim_model *model;
static query_file *queries;
static size_t n_queries;
static double *waits; /* [requests] */
static atomic_llong next_request, n_bytes;

static void give_up(const char *text) {
    fprintf(stderr, "serve_alone: %s\n", text);
    exit(1);
}

static int64_t sure(int64_t rc, const msim_error *err) {
    if (rc < 0) give_up(err->text);
    return rc;
}

/* ---- One query ---- */

typedef struct {
    msim_note_reader *reader;
    msim_finder *finder;
    msim_searcher *searcher;
    msim_match rows[SERVER_K];
    int64_t n_rows;
} asker;

static int receive(void *user, const msim_answer *answer) {
    asker *a = user;
    a->n_rows = answer->n_matches < s.k ? answer->n_matches : s.k;
    memcpy(a->rows, answer->matches, (size_t)a->n_rows * sizeof *a->rows);
    return 0;
}

static int count_bytes(void *user, const void *bytes, size_t n) {
    (void)bytes;
    *(size_t *)user += n;
    return 0;
}

static int64_t add_row(msim_report *report, int64_t row, msim_error *err) {
    char name[4096];
    const int64_t n = msim_corpus_name(corpus, row, name, sizeof name);
    if (n < 0 || (size_t)n >= sizeof name) give_up("a row without a name");
    return sure(msim_report_add_piece(report, name, (size_t)n, NULL, err), err);
}

/* As a report has them: first the pieces that share notes, with their scores if they are alike. */
static void report_matches(asker *a, msim_report *report, int64_t query,
                           const msim_note_match *found, int64_t n_found, msim_error *err) {
    int64_t pieces[SERVER_K];
    for (int64_t i = 0; i < a->n_rows; i++) pieces[i] = add_row(report, a->rows[i].row, err);
    for (int64_t f = 0; f < n_found + a->n_rows; f++) {
        msim_report_match match = msim_report_match_default();
        msim_notes_piece piece = {.size = sizeof piece};
        int64_t i = f - n_found;
        if (f < n_found) {
            match.notes = &found[f];
            (void)msim_notes_get_piece(notes, found[f].piece, &piece);
            match.piece =
                sure(msim_report_add_piece(report, piece.name, piece.name_bytes, NULL, err), err);
            for (i = 0; i < a->n_rows && pieces[i] != match.piece;) i++;
        } else if (pieces[i] < 0) {
            continue;
        } else {
            match.piece = pieces[i];
        }
        if (i < a->n_rows) {
            match.has_score = 1;
            match.score = a->rows[i].score;
            match.transpose = a->rows[i].transpose;
            pieces[i] = -1;
        }
        sure(msim_report_add_match(report, query, &match, err), err);
    }
}

static void answer(asker *a, const query_file *q) {
    msim_error err = {0};
    msim_piece_notes piece = {.size = sizeof piece};
    const msim_note_match *found = NULL;
    msim_report *report = NULL;
    msim_report_options o = msim_report_options_default();
    int64_t query = 0, n_found = 0;
    size_t bytes = 0;
    o.notes = notes;
    a->n_rows = 0;
    if (s.has_report) {
        sure(msim_report_open(&o, &report, &err), &err);
        query = sure(msim_report_add_midi(report, "your file", 9, q->bytes, q->n, &err), &err);
        query = sure(msim_report_add_query(report, query, -1, -1, &err), &err);
    }
    if (a->finder) {
        sure(msim_note_reader_read(a->reader, q->bytes, q->n, &piece, &err), &err);
        n_found = sure(msim_finder_find(a->finder, piece.notes, piece.n_notes, &found, &err), &err);
    }
    if (a->searcher) {
        sure(msim_searcher_add_midi(a->searcher, q->bytes, q->n, &err), &err);
        sure(msim_searcher_run(a->searcher, receive, a, &err), &err);
    }
    if (!report) return;
    report_matches(a, report, query, found, n_found, &err);
    sure(msim_report_write_json(report, count_bytes, &bytes, &err), &err);
    msim_report_close(report);
    n_bytes += (long long)bytes;
}

/* ---- Threads ---- */

static void open_asker(asker *a) {
    msim_error err = {0};
    msim_finder_options fo = msim_finder_options_default();
    msim_searcher_options so = msim_searcher_options_default();
    msim_options o = msim_options_default();
    fo.max_matches = s.k;
    fo.is_same_key = s.is_own_key;
    o.threads = 1;
    so.k = SERVER_K;
    if (s.is_own_key) so.transpose = 0;
    sure(msim_note_reader_open(&a->reader, &err), &err);
    if (strcmp(s.mode, "likeness") != 0) sure(msim_finder_open(notes, &fo, &a->finder, &err), &err);
    if (strcmp(s.mode, "find") != 0)
        sure(msim_searcher_open(model, corpus, &o, &so, &a->searcher, &err), &err);
}

static void *work(void *user) {
    asker *a = user;
    for (;;) {
        const int64_t i = next_request++;
        if (i >= s.requests) return NULL;
        const double began = ms_clock_now();
        answer(a, &queries[(size_t)i % n_queries]);
        waits[i] = ms_clock_now() - began;
    }
}

static double processor(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(void) {
    asker *askers = calloc((size_t)s.threads, sizeof *askers);
    pthread_t *threads = calloc((size_t)s.threads, sizeof *threads);
    waits = calloc((size_t)s.requests, sizeof *waits);
    if (!askers || !threads || !waits) give_up("out of memory");
    for (int64_t i = 0; i < s.threads; i++) open_asker(&askers[i]);
    const double began = ms_clock_now(), used = processor();
    for (int64_t i = 0; i < s.threads; i++)
        if (pthread_create(&threads[i], NULL, work, &askers[i]) != 0)
            give_up("cannot start a thread");
    for (int64_t i = 0; i < s.threads; i++) pthread_join(threads[i], NULL);
    const double seconds = ms_clock_now() - began, spent = processor() - used;
    qsort(waits, (size_t)s.requests, sizeof *waits, by_size);
    printf("{\"answers\":%" PRId64 ",\"bytes\":%lld,\"seconds\":%.6f,\"processor\":%.6f,"
           "\"p50\":%.6f,\"p99\":%.6f}\n",
           s.requests, (long long)n_bytes, seconds, spent, waits[s.requests / 2],
           waits[s.requests * 99 / 100]);
}

/* ---- The whole ---- */

static query_file read_file(const char *path) {
    query_file q = {0};
    FILE *in = fopen(path, "rb");
    if (!in || fseek(in, 0, SEEK_END) != 0) give_up(path);
    q.n = (size_t)ftell(in);
    q.bytes = malloc(q.n + 1);
    rewind(in);
    if (!q.bytes || fread(q.bytes, 1, q.n, in) != q.n) give_up(path);
    fclose(in);
    return q;
}

static int read_options(int argc, char **argv) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *name = argv[i] + 2;
        if (strcmp(name, "no-report") == 0) {
            s.has_report = false;
            continue;
        }
        const char *value = ++i < argc ? argv[i] : "";
        if (strcmp(name, "notes") == 0)
            s.notes = value;
        else if (strcmp(name, "model") == 0)
            s.model = value;
        else if (strcmp(name, "mode") == 0)
            s.mode = value;
        else if (strcmp(name, "k") == 0)
            s.k = atoll(value);
        else if (strcmp(name, "threads") == 0)
            s.threads = atoll(value);
        else if (strcmp(name, "requests") == 0)
            s.requests = atoll(value);
        else if (strcmp(name, "keys") == 0)
            s.is_own_key = strcmp(value, "own") == 0;
        else
            give_up("unknown option");
    }
    return i;
}

int main(int argc, char **argv) {
    msim_error err = {0};
    const int first = read_options(argc, argv);
    if (argc - first < 2 || s.k < 1 || s.k > SERVER_K || s.threads < 1 || s.requests < 1)
        give_up("expected options, CORPUS.npy and files; see the top of bench/serve_alone.c");
    sure(msim_corpus_open(argv[first], NULL, &corpus, &err), &err);
    if (s.notes) sure(msim_notes_open(s.notes, &notes, &err), &err);
    if (s.model) sure(msim_model_open(s.model, NULL, &model, &err), &err);
    if (!notes && strcmp(s.mode, "likeness") != 0) give_up("--notes is missing");
    if (!model && strcmp(s.mode, "find") != 0) give_up("--model is missing");
    n_queries = (size_t)(argc - first - 1);
    queries = calloc(n_queries, sizeof *queries);
    if (!queries) give_up("out of memory");
    for (size_t i = 0; i < n_queries; i++) queries[i] = read_file(argv[first + 1 + (int)i]);
    measure();
    msim_model_close(model);
    msim_notes_close(notes);
    msim_corpus_close(corpus);
    return 0;
}
