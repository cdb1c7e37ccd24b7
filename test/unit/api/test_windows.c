/* Pieces of several rows, through the public calls alone: where windows begin and end, against a
 * slow search among the tokens; a job that writes one row for each window, against windows embedded
 * by hand; the same bytes when it is interrupted, brought up to date, or done in shards; journals
 * and descriptions that lie. With the small checkpoint of test/data. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <zlib.h>
#include "support/tiny.h"

enum { MOST_IDS = 1 << 16, MOST_WINDOWS = 4096, MOST_DIM = 64, WINDOW = 64, STEP = 32 };

static int set_up(void **state) {
    int rc = tiny_open(state);
    return rc < 0 || dim > MOST_DIM ? -1 : 0;
}

/* ---- Files ---- */

/* A MIDI file of one voice at a tick a millisecond: `n` notes that begin `gaps` after one another
 * and last 100 ms. */
static size_t make_midi(unsigned char *out, const int *gaps, int n) {
    static const unsigned char head[] = {'M', 'T', 'h',  'd', 0,   0,   0,   6, 0, 0, 0,
                                         1,   1,   0x90, 'M', 'T', 'r', 'k', 0, 0, 0, 0};
    size_t at = sizeof head;
    memcpy(out, head, sizeof head);
    for (int i = 0; i < n; i++) {
        int delta = i ? gaps[i] - 100 : gaps[i];
        out[at++] = (unsigned char)(0x80 | (delta >> 14 & 127));
        out[at++] = (unsigned char)(0x80 | (delta >> 7 & 127));
        out[at++] = (unsigned char)(delta & 127);
        out[at++] = 0x90, out[at++] = (unsigned char)(40 + i % 40), out[at++] = 80;
        out[at++] = 100, out[at++] = 0x80, out[at++] = (unsigned char)(40 + i % 40), out[at++] = 0;
    }
    out[at++] = 0, out[at++] = 0xff, out[at++] = 0x2f, out[at++] = 0;
    size_t length = at - sizeof head;
    out[20] = (unsigned char)(length >> 8), out[21] = (unsigned char)length;
    return at;
}

/* ---- Windows of tokens ---- */

static int32_t ids[MOST_IDS];
static msim_span spans[MOST_WINDOWS], expected[MOST_WINDOWS];

/* The notes of a sequence: where each begins, and where without its step. Behind them begins the
 * step of one that is cut off, or nothing. */
typedef struct {
    int64_t n, begin[MOST_IDS + 1], at[MOST_IDS + 1];
} notes_of;

static void find_notes(const int32_t *tokens, int64_t n, notes_of *out) {
    out->n = 0;
    out->begin[0] = n;
    for (int64_t i = 1; i < n; i += 2) {
        out->begin[out->n] = i;
        if (tokens[i] < 128) i++;
        out->at[out->n] = i;
        if (i < n) out->begin[++out->n] = n;
    }
}

/* The slow way. */
static int64_t expect_windows(const notes_of *s, int64_t n_tokens, int64_t window, int64_t step) {
    int64_t last = s->n - 1, n = 0, from = 0;
    for (int64_t i = s->n - 1; i >= 0; i--)
        if (1 + n_tokens - s->at[i] <= window) last = i;
    while (from < last) {
        int64_t end = from + 1, next = from + 1;
        for (int64_t e = from + 1; e <= s->n; e++)
            if (1 + s->begin[e] - s->at[from] <= window) end = e;
        for (int64_t i = from + 1; i <= end; i++)
            if (s->begin[i] <= s->begin[from] + step) next = i;
        expected[n++] =
            (msim_span){.from_token = from ? s->at[from] : 0, .to_token = s->begin[end]};
        from = next;
    }
    expected[n++] = (msim_span){.from_token = last > 0 ? s->at[last] : 0, .to_token = n_tokens};
    return n;
}

static void check_windows(msim_tokenizer *tok, const file *f, int64_t window, int64_t step,
                          int64_t limit) {
    static notes_of notes;
    int64_t n = msim_tokenizer_encode_at(tok, f->bytes, f->n, 0, limit, ids, MOST_IDS, &err);
    ok(n);
    find_notes(ids, n, &notes);
    int64_t n_expected = expect_windows(&notes, n, window, step);
    assert_int_equal(msim_tokenizer_windows(tok, window, step, limit, spans, MOST_WINDOWS, &err),
                     n_expected);
    assert_int_equal(msim_tokenizer_windows(tok, window, step, limit, NULL, 0, &err), n_expected);
    for (int64_t i = 0; i < n_expected; i++) {
        assert_int_equal(spans[i].piece, -1);
        assert_int_equal(spans[i].from_token, expected[i].from_token);
        assert_int_equal(spans[i].to_token, expected[i].to_token);
        assert_true(spans[i].to_token - spans[i].from_token + (i > 0) <= window);
        assert_true(spans[i].from_seconds >= (i ? spans[i - 1].from_seconds : 0));
        assert_true(spans[i].to_seconds >= spans[i].from_seconds);
        /* nothing but a step is between two windows */
        if (i) assert_true(spans[i].from_token <= spans[i - 1].to_token + 1);
    }
    assert_int_equal(spans[0].from_token, 0);
    assert_int_equal(spans[n_expected - 1].to_token, n);
}

static void windows_are_cut_between_notes(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{16, 16}, {16, 1},    {17, 5}, {64, 32}, {64, 64},
                                       {200, 7}, {200, 100}, {4, 1},  {5, 4},   {1 << 20, 1 << 19}},
                         limits[] = {INT64_MAX, 1, 2, 3, 4, 64, 65, 66, 67, 301, 302};
    msim_tokenizer *tok;
    file f = load(LONG);
    ok(msim_tokenizer_open(model, &tok, &err));
    assert_int_equal(msim_tokenizer_windows(tok, 64, 32, 100, spans, 1, &err), -MSIM_E_ARG);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t l = 0; l < sizeof limits / sizeof *limits; l++)
            if (sizes[s][0] > 5 || limits[l] < 100)
                check_windows(tok, &f, sizes[s][0], sizes[s][1], limits[l]);
    assert_int_equal(msim_tokenizer_windows(tok, 3, 1, 100, spans, 1, &err), -MSIM_E_ARG);
    assert_int_equal(msim_tokenizer_windows(tok, 64, 0, 100, spans, 1, &err), -MSIM_E_ARG);
    assert_int_equal(msim_tokenizer_windows(tok, 64, 65, 100, spans, 1, &err), -MSIM_E_ARG);
    assert_true(msim_tokenizer_encode_at(tok, "nothing", 7, 0, 9, ids, MOST_IDS, &err) < 0);
    assert_int_equal(msim_tokenizer_windows(tok, 64, 32, 100, spans, 1, &err), -MSIM_E_ARG);
    msim_tokenizer_close(tok);
    free(f.bytes);
}

/* Times are those of the file: from its beginning, over a rest that no token can tell. */
static void windows_say_where_they_are_in_time(void **state) {
    (void)state;
    enum { NOTES = 40 };
    static unsigned char midi[1024];
    int gaps[NOTES], starts[NOTES], now = 0;
    msim_tokenizer *tok;
    for (int i = 0; i < NOTES; i++) {
        gaps[i] = i == 0 ? 1000 : i == 20 ? 60000 : 330;
        starts[i] = now += gaps[i];
    }
    size_t n_bytes = make_midi(midi, gaps, NOTES);
    ok(msim_tokenizer_open(model, &tok, &err));
    ok(msim_tokenizer_encode_at(tok, midi, n_bytes, 0, INT64_MAX, ids, MOST_IDS, &err));
    assert_int_equal(msim_tokenizer_full_length(tok), 3 * NOTES);
    /* 3 tokens a note, but for the first of a window: 6 notes, and one begins every 3 notes */
    int64_t n = msim_tokenizer_windows(tok, 18, 9, INT64_MAX, spans, MOST_WINDOWS, &err);
    ok(n);
    assert_int_equal(n, 13);
    for (int64_t i = 0; i < n; i++) {
        int first = i < n - 1 ? (int)(3 * i) : NOTES - 6, behind = first + 6;
        double from = 1.0 + (starts[first] - 1000) / 32 * 0.032,
               to = behind < NOTES ? 1.0 + (starts[behind] - 1000) / 32 * 0.032
                                   : 1.0 + ((starts[NOTES - 1] - 1000) / 32 + 3) * 0.032;
        assert_true(spans[i].from_seconds == from ||
                    (spans[i].from_seconds - from < 1e-9 && from - spans[i].from_seconds < 1e-9));
        assert_true(spans[i].to_seconds - to < 1e-9 && to - spans[i].to_seconds < 1e-9);
    }
    assert_true(spans[n - 1].from_seconds > 60);
    msim_tokenizer_close(tok);
}

/* ---- Jobs ---- */

typedef struct {
    int stop_step;
    int64_t stop_done;
} caller;

static int on_progress(void *user, const msim_job_progress *p) {
    const caller *c = user;
    return p->step == c->stop_step && p->done >= c->stop_done;
}

static msim_job_options job_of(const char *const *paths, size_t n, const char *output) {
    msim_job_options o = msim_job_options_default();
    o.output = output;
    o.paths = paths;
    o.n_paths = n;
    o.model = model;
    o.options = &options;
    o.names = MSIM_NAMES_STEM;
    o.window_tokens = WINDOW;
    o.window_step = STEP;
    return o;
}

static int run_job(const msim_job_options *o, msim_job_stats *stats) {
    msim_job *job;
    int rc = msim_job_open(o, &job, &err);
    if (rc < 0) return rc;
    rc = msim_job_run(job, &err);
    if (stats) {
        *stats = (msim_job_stats){.size = sizeof *stats};
        assert_int_equal(msim_job_get_stats(job, stats), 0);
    }
    msim_job_close(job);
    return rc;
}

typedef struct {
    file corpus, description;
} result;

static result read_result(const char *output) {
    char path[260];
    snprintf(path, sizeof path, "%s.json", output);
    return (result){.corpus = load(output), .description = load(path)};
}

static void free_result(result *r) {
    free(r->corpus.bytes);
    free(r->description.bytes);
}

static void assert_result(const char *output, const result *wanted) {
    result got = read_result(output);
    assert_true(got.corpus.n > 0 && got.description.n > 0);
    assert_int_equal(got.corpus.n, wanted->corpus.n);
    assert_int_equal(got.description.n, wanted->description.n);
    assert_memory_equal(got.corpus.bytes, wanted->corpus.bytes, got.corpus.n);
    assert_memory_equal(got.description.bytes, wanted->description.bytes, got.description.n);
    free_result(&got);
}

enum { FILES = 5 };

/* A piece of many windows, another name for it, one shorter than a window, one more, and one that
 * is no piece. */
static const char *const *make_files(void) {
    static const char *paths[FILES];
    static unsigned char midi[1024];
    int gaps[5] = {10, 330, 330, 330, 330};
    static const char *const names[FILES] = {"a.mid", "b.mid", "c.mid", "d.mid", "e.mid"};
    static char places[FILES][200];
    for (int i = 0; i < FILES; i++) {
        snprintf(places[i], sizeof places[i], "%s/%s", folder, names[i]);
        paths[i] = places[i];
    }
    copy_file(LONG, paths[0]);
    copy_file(LONG, paths[1]);
    write_file(paths[2], midi, make_midi(midi, gaps, 5));
    copy_file(OTHER, paths[3]);
    write_file(paths[4], "no piece", 8);
    return paths;
}

/* The rows of one file from `row` on are its windows, embedded by hand. Returns the row behind. */
static int64_t check_piece(const msim_corpus *corpus, int64_t row, int64_t piece, const char *path,
                           const char *name, int64_t limit) {
    static int32_t window[WINDOW + 1];
    float by_hand[MOST_DIM], stored[MOST_DIM];
    char found[100];
    msim_tokenizer *tok;
    msim_context *context;
    msim_span span;
    msim_bar_span bars, stored_bars;
    file f = load(path);
    ok(msim_tokenizer_open(model, &tok, &err));
    msim_tokenizer_keep_bars(tok, 1);
    ok(msim_context_open(model, &options, &context, &err));
    ok(msim_tokenizer_encode_at(tok, f.bytes, f.n, 0, limit, ids, MOST_IDS, &err));
    int64_t n = msim_tokenizer_windows(tok, WINDOW, STEP, limit, spans, MOST_WINDOWS, &err);
    ok(n);
    assert_int_equal(msim_corpus_piece_first(corpus, piece, &err), row);
    for (int64_t i = 0; i < n; i++, row++) {
        int64_t at = 0, starts[2] = {0};
        if (spans[i].from_token) window[at++] = 0;
        for (int64_t t = spans[i].from_token; t < spans[i].to_token; t++) window[at++] = ids[t];
        starts[1] = at;
        assert_true(at <= WINDOW);
        ok(msim_context_embed(context, window, starts, 1, NULL, by_hand, &err));
        ok(msim_corpus_vector(corpus, row, stored, &err));
        assert_memory_equal(by_hand, stored, (size_t)dim * sizeof *stored);
        ok(msim_corpus_name(corpus, row, found, sizeof found));
        assert_string_equal(found, name);
        ok(msim_corpus_span(corpus, row, &span, &err));
        assert_int_equal(span.piece, piece);
        assert_int_equal(msim_corpus_piece_of(corpus, row, &err), piece);
        assert_int_equal(span.from_token, spans[i].from_token);
        assert_int_equal(span.to_token, spans[i].to_token);
        assert_true(span.from_seconds == spans[i].from_seconds);
        assert_true(span.to_seconds == spans[i].to_seconds);
        ok(msim_tokenizer_bars(tok, spans + i, &bars, &err));
        ok(msim_corpus_bars(corpus, row, &stored_bars, &err));
        assert_true(bars.from_bar > 0 && bars.from_bar + 20 > bars.to_bar);
        assert_memory_equal(&bars, &stored_bars, sizeof bars);
    }
    msim_context_close(context);
    msim_tokenizer_close(tok);
    free(f.bytes);
    return row;
}

static void a_job_writes_a_row_for_each_window(void **state) {
    (void)state;
    static const int64_t limits[] = {-1, 301};
    const char *const *paths = make_files(), *output = in_folder("c.npy");
    msim_job_options o = job_of(paths, FILES, output);
    msim_job_stats stats;
    msim_corpus *corpus;
    msim_span span;
    for (int i = 0; i < 2; i++) {
        int64_t limit = limits[i] < 0 ? INT64_MAX : limits[i];
        o.max_tokens = limits[i];
        o.is_forced = 1;
        assert_int_equal(run_job(&o, &stats), MSIM_JOB_WRITTEN);
        ok(msim_corpus_open(output, NULL, &corpus, &err));
        int64_t row = check_piece(corpus, 0, 0, paths[0], "a", limit), first = row;
        row = check_piece(corpus, row, 1, paths[1], "b", limit);
        assert_int_equal(row, 2 * first);
        assert_int_equal(check_piece(corpus, row, 2, paths[2], "c", limit), row + 1);
        row = check_piece(corpus, row + 1, 3, paths[3], "d", limit);
        assert_true(first > 5);
        assert_int_equal(row, msim_corpus_rows(corpus));
        assert_int_equal(row, stats.rows);
        assert_int_equal(stats.pieces, 4);
        assert_int_equal(stats.shared, first);
        assert_int_equal(stats.cut > 0, limits[i] > 0);
        assert_int_equal(msim_corpus_pieces(corpus, &err), 4);
        assert_int_equal(msim_corpus_piece_first(corpus, 4, &err), row);
        assert_int_equal(msim_corpus_piece_first(corpus, 5, &err), -MSIM_E_ARG);
        assert_int_equal(msim_corpus_span(corpus, row, &span, &err), -MSIM_E_ARG);
        assert_int_equal(msim_corpus_has_spans(corpus, &err), 1);
        assert_int_equal(msim_corpus_has_bars(corpus, &err), 1);
        msim_corpus_close(corpus);
    }
    folder_clean(NULL);
}

static void an_interrupted_job_goes_on_to_the_same_bytes(void **state) {
    (void)state;
    const char *const *paths = make_files(), *output = in_folder("c.npy");
    msim_job_options o = job_of(paths, FILES, output);
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    result whole = read_result(output);
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_NOTHING_TO_DO);
    for (int64_t done = 0; done < 6; done++) {
        caller c = {.stop_step = done < 5 ? MSIM_STEP_EMBED : MSIM_STEP_WRITE,
                    .stop_done = done < 5 ? done : 0};
        unlink(output);
        unlink(in_folder("c.npy.json"));
        o.progress = on_progress;
        o.user = &c;
        assert_int_equal(run_job(&o, NULL), -MSIM_E_STOPPED);
        o.progress = NULL;
        /* Other settings do not go on with what is done. */
        o.window_step = STEP - 1;
        if (done) assert_int_equal(run_job(&o, NULL), -MSIM_E_ARG);
        if (done) assert_non_null(strstr(err.text, "window step: expected 32, got 31"));
        o.window_step = STEP;
        assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
        assert_result(output, &whole);
    }
    o.window_tokens = o.window_step = 0;
    o.max_tokens = 0;
    assert_int_equal(run_job(&o, NULL), -MSIM_E_ARG);
    assert_non_null(strstr(err.text, "window"));
    /* Half of the window is what no step means. */
    o = job_of(paths, FILES, output);
    o.window_step = 0;
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_NOTHING_TO_DO);
    free_result(&whole);
    folder_clean(NULL);
}

static void an_update_gives_the_bytes_of_a_fresh_job(void **state) {
    (void)state;
    const char *const *paths = make_files(), *output = in_folder("c.npy"),
                      *fresh = in_folder("fresh.npy");
    const char *first[] = {paths[0], paths[2]}, *second[] = {paths[1], paths[2], paths[3]};
    msim_job_options o = job_of(second, 3, fresh);
    msim_job_stats stats;
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    result whole = read_result(fresh);
    o = job_of(first, 2, output);
    assert_int_equal(run_job(&o, &stats), MSIM_JOB_WRITTEN);
    int64_t n_first = stats.rows - 1;
    o = job_of(second, 3, output);
    o.is_update = 1;
    assert_int_equal(run_job(&o, &stats), MSIM_JOB_WRITTEN);
    assert_int_equal(stats.dropped, n_first);
    assert_result(output, &whole);
    assert_int_equal(run_job(&o, &stats), MSIM_JOB_UP_TO_DATE);
    /* Names by path say which file it was: nothing is read again. */
    o.names = MSIM_NAMES_PATH;
    o.is_update = 0;
    o.is_forced = 1;
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    o.is_update = 1;
    o.is_forced = 0;
    assert_int_equal(run_job(&o, &stats), MSIM_JOB_UP_TO_DATE);
    assert_int_equal(stats.kept, 3);
    assert_int_equal(stats.read, 0);
    free_result(&whole);
    folder_clean(NULL);
}

/* Shards, one behind the other and merged, are the whole. */
static void shards_make_the_whole(void **state) {
    (void)state;
    const char *path = folder, *output = in_folder("c.npy"); /* names, and so shards, are fixed */
    const char *shards[2] = {in_folder("s1.npy"), in_folder("s2.npy")};
    msim_corpus *whole, *parts;
    msim_corpus_merge *merge;
    msim_span a, b;
    msim_bar_span a_bars, b_bars;
    make_files();
    msim_job_options o = job_of(&path, 1, output);
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    for (int i = 0; i < 2; i++) {
        o = job_of(&path, 1, shards[i]);
        o.shard = i + 1;
        o.n_shards = 2;
        assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    }
    ok(msim_corpus_open(output, NULL, &whole, &err));
    ok(msim_corpus_open_many(shards, 2, NULL, &parts, &err));
    assert_true(msim_corpus_part_rows(parts, 0) > 0 && msim_corpus_part_rows(parts, 1) > 0);
    assert_int_equal(msim_corpus_pieces(parts, &err), 4);
    ok(msim_corpus_merge_open(parts, NULL, NULL, &merge, &err));
    int64_t n = 0, row = 0;
    const char *name;
    size_t n_name;
    while (msim_corpus_merge_next(merge, &row, &name, &n_name, &err) == 1) {
        char found[100];
        float x[MOST_DIM], y[MOST_DIM];
        ok(msim_corpus_name(whole, n, found, sizeof found));
        assert_string_equal(found, name);
        ok(msim_corpus_vector(whole, n, x, &err));
        ok(msim_corpus_vector(parts, row, y, &err));
        assert_memory_equal(x, y, (size_t)dim * sizeof *x);
        ok(msim_corpus_span(whole, n, &a, &err));
        ok(msim_corpus_span(parts, row, &b, &err));
        assert_int_equal(n - msim_corpus_piece_first(whole, a.piece, &err),
                         row - msim_corpus_piece_first(parts, b.piece, &err));
        b.piece = a.piece;
        assert_memory_equal(&a, &b, sizeof a);
        ok(msim_corpus_bars(whole, n, &a_bars, &err));
        ok(msim_corpus_bars(parts, row, &b_bars, &err));
        assert_true(a_bars.from_bar > 0);
        assert_memory_equal(&a_bars, &b_bars, sizeof a_bars);
        n++;
    }
    assert_int_equal(n, msim_corpus_rows(whole));
    assert_int_equal(msim_corpus_merge_repeats(merge), 0);
    msim_corpus_merge_close(merge);
    msim_corpus_close(parts);
    msim_corpus_close(whole);
    folder_clean(NULL);
}

/* ---- What lies ---- */

/* Change bytes of the first content with windows in a journal, and mend the checksum. */
static void change_journal(file *f, size_t offset, const void *bytes, size_t n) {
    uint32_t n_text, magic;
    uint64_t n_block;
    memcpy(&n_text, f->bytes + 8, 4);
    size_t block = 64 + ((n_text + 7) & ~(size_t)7), at = block + 32;
    memcpy(&magic, f->bytes + block, 4);
    assert_int_equal(magic, 0x4b4c424d);
    memcpy(&n_block, f->bytes + block + 8, 8);
    while (f->bytes[at] != 1 || f->bytes[at + 1] != 0) {
        uint32_t record;
        memcpy(&record, f->bytes + at + 4, 4);
        at += record;
        assert_true(at < block + 32 + n_block);
    }
    memcpy(f->bytes + at + offset, bytes, n);
    uint32_t crc = (uint32_t)crc32(0, f->bytes + block + 8, (uInt)(24 + n_block));
    memcpy(f->bytes + block + 4, &crc, 4);
}

static void journals_that_lie_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t offset; /* in the record: its windows, then fields of the first and second span */
        uint32_t value;
    } lies[] = {{56, 0},      {56, 1},      {56, 1 << 20}, {56, UINT32_MAX},
                {64, 1},      {64 + 4, 64}, {64 + 8, 0},   {64 + 12, UINT32_MAX},
                {64 + 20, 1}, {88, 0},      {88, 2},       {88 + 4, 0}};
    const char *const *paths = make_files(), *output = in_folder("c.npy"),
                      *journal = in_folder("c.npy.journal");
    msim_job_options o = job_of(paths, 1, output);
    o.is_journal_kept = 1;
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    file kept = load(journal);
    unlink(output);
    unlink(in_folder("c.npy.json"));
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        file f = {.bytes = malloc(kept.n), .n = kept.n};
        memcpy(f.bytes, kept.bytes, kept.n);
        change_journal(&f, lies[i].offset, &lies[i].value, 4);
        write_file(journal, f.bytes, f.n);
        assert_int_equal(run_job(&o, NULL), -MSIM_E_FORMAT);
        assert_non_null(strstr(err.text, "no record begins here"));
        free(f.bytes);
    }
    write_file(journal, kept.bytes, kept.n);
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    free(kept.bytes);
    folder_clean(NULL);
}

/* Put a text in the place of another of the same length. */
static void change_text(const char *path, const char *from, size_t skip, const char *to) {
    file f = load(path);
    unsigned char *at = memmem(f.bytes, f.n, from, strlen(from));
    assert_non_null(at);
    memcpy(at + skip, to, strlen(to));
    write_file(path, f.bytes, f.n);
    free(f.bytes);
}

static void descriptions_that_lie_are_refused(void **state) {
    (void)state;
    /* Base64 of the first span: its number is not 0, or it ends where it begins; no base64; too
     * short; and of no spans at all. */
    static const struct {
        const char *from, *to, *text;
        size_t skip;
    } lies[] = {{"\"spans\":\"", "AQAA", "cannot be one", 9},
                {"\"spans\":\"", "AAAAAAAAAAAAAAAA", "cannot be one", 9},
                {"\"spans\":\"", "!", "not those of", 9},
                {"\"spans\":\"", "\"", "not those of", 9}};
    const char *const *paths = make_files(), *output = in_folder("c.npy");
    msim_job_options o = job_of(paths, FILES, output);
    msim_searcher_options so = msim_searcher_options_default();
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_WRITTEN);
    char description[300];
    snprintf(description, sizeof description, "%s.json", output);
    file good = load(description);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        msim_corpus *corpus;
        msim_searcher *searcher;
        msim_span span;
        change_text(description, lies[i].from, lies[i].skip, lies[i].to);
        ok(msim_corpus_open(output, NULL, &corpus, &err));
        assert_int_equal(msim_corpus_span(corpus, 0, &span, &err), -MSIM_E_FORMAT);
        assert_non_null(strstr(err.text, lies[i].text));
        assert_int_equal(msim_corpus_pieces(corpus, NULL), -MSIM_E_FORMAT);
        assert_int_equal(msim_searcher_open(NULL, corpus, &options, &so, &searcher, &err),
                         -MSIM_E_FORMAT);
        msim_corpus_close(corpus);
        o.is_update = 1;
        assert_int_equal(run_job(&o, NULL), -MSIM_E_ARG);
        write_file(description, good.bytes, good.n);
    }
    /* Windows without spans, and spans without windows. */
    change_text(description, "\"windows\"", 1, "w1");
    assert_int_equal(run_job(&o, NULL), -MSIM_E_ARG);
    write_file(description, good.bytes, good.n);
    change_text(description, "\"spans\"", 1, "s1");
    assert_int_equal(run_job(&o, NULL), -MSIM_E_ARG);
    write_file(description, good.bytes, good.n);
    assert_int_equal(run_job(&o, NULL), MSIM_JOB_UP_TO_DATE);
    free(good.bytes);
    folder_clean(NULL);
}

static void rows_without_spans_are_whole_pieces(void **state) {
    (void)state;
    static const float rows[6] = {1, 2, 3, 4, 5, 6};
    msim_corpus *corpus;
    msim_span span;
    ok(msim_corpus_open_rows(rows, 3, 2, NULL, NULL, &corpus, &err));
    assert_int_equal(msim_corpus_pieces(corpus, &err), 3);
    assert_int_equal(msim_corpus_has_spans(corpus, &err), 0);
    assert_int_equal(msim_corpus_piece_first(corpus, 2, &err), 2);
    assert_int_equal(msim_corpus_piece_first(corpus, 3, &err), 3);
    ok(msim_corpus_span(corpus, 1, &span, &err));
    assert_int_equal(span.piece, 1);
    assert_true(span.from_token == -1 && span.to_token == -1 && span.from_seconds == -1.0 &&
                span.to_seconds == -1.0);
    assert_int_equal(msim_corpus_span(corpus, 3, &span, &err), -MSIM_E_ARG);
    assert_int_equal(msim_corpus_piece_of(corpus, -1, &err), -MSIM_E_ARG);
    msim_corpus_close(corpus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_cut_between_notes),
        cmocka_unit_test(windows_say_where_they_are_in_time),
        cmocka_unit_test(a_job_writes_a_row_for_each_window),
        cmocka_unit_test(an_interrupted_job_goes_on_to_the_same_bytes),
        cmocka_unit_test(an_update_gives_the_bytes_of_a_fresh_job),
        cmocka_unit_test(shards_make_the_whole),
        cmocka_unit_test(journals_that_lie_are_refused),
        cmocka_unit_test(descriptions_that_lie_are_refused),
        cmocka_unit_test(rows_without_spans_are_whole_pieces),
    };
    return cmocka_run_group_tests(tests, set_up, tiny_close);
}
