/* The bars of windows in jobs, corpora and searches, through the public calls alone: which corpora
 * have them, what was written before there were any, and what lies. Where bars are is a matter of
 * test/unit/midi/test_places.c; that rows have those of their windows, whatever made them, of
 * test_windows.c. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <zlib.h>
#include "support/tiny.h"

enum { WINDOW = 64, STEP = 32, HEAD = 64, BLOCK_HEAD = 32, SPAN = 24, BARS = 12 };

static const char *output, *description, *journal, *one, *two;

static void make_files(void) {
    output = in_folder("c.npy");
    description = in_folder("c.npy.json");
    journal = in_folder("c.npy.journal");
    one = in_folder("a.mid");
    two = in_folder("b.mid");
    copy_file(LONG, one);
    copy_file(OTHER, two);
}

static int run_job(int64_t window, bool is_pooled, bool is_update, size_t n_files) {
    const char *const paths[2] = {one, two};
    msim_job_options o = msim_job_options_default();
    msim_job *job;
    o.output = output;
    o.paths = paths;
    o.n_paths = n_files;
    o.model = model;
    o.options = &options;
    o.window_tokens = window;
    o.window_step = window ? STEP : 0;
    o.is_pooled = is_pooled;
    o.is_update = is_update;
    o.is_journal_kept = 1;
    int rc = msim_job_open(&o, &job, &err);
    if (rc < 0) return rc;
    rc = msim_job_run(job, &err);
    msim_job_close(job);
    return rc;
}

static bool description_says(const char *text) {
    file f = load(description);
    bool found = memmem(f.bytes, f.n, text, strlen(text)) != NULL;
    free(f.bytes);
    return found;
}

static msim_corpus *open_corpus(void) {
    msim_corpus *corpus;
    ok(msim_corpus_open(output, NULL, &corpus, &err));
    return corpus;
}

/* Rows from `first` on whose bars are known. */
static int64_t count_known(int64_t first) {
    msim_corpus *corpus = open_corpus();
    msim_bar_span bars;
    int64_t n = 0;
    for (int64_t row = first; row < msim_corpus_rows(corpus); row++) {
        ok(msim_corpus_bars(corpus, row, &bars, &err));
        n += bars.from_bar > 0;
        assert_int_equal(bars.from_bar > 0, bars.to_bar > 0);
        assert_int_equal(bars.from_bar > 0, bars.from_beat >= 1);
    }
    msim_corpus_close(corpus);
    return n;
}

static int64_t count_rows(void) {
    msim_corpus *corpus = open_corpus();
    int64_t n = msim_corpus_rows(corpus);
    msim_corpus_close(corpus);
    return n;
}

/* ---- Which corpora have them ---- */

static void windows_alone_have_bars(void **state) {
    (void)state;
    static const struct {
        int64_t window;
        bool is_pooled, has_bars;
    } cases[] = {{0, false, false}, {WINDOW, true, false}, {WINDOW, false, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_files();
        assert_int_equal(run_job(cases[i].window, cases[i].is_pooled, false, 2), MSIM_JOB_WRITTEN);
        assert_int_equal(description_says("bars"), cases[i].has_bars);
        msim_corpus *corpus = open_corpus();
        msim_bar_span bars;
        assert_int_equal(msim_corpus_has_bars(corpus, &err), cases[i].has_bars);
        assert_int_equal(msim_corpus_bars(corpus, msim_corpus_rows(corpus), &bars, &err),
                         -MSIM_E_ARG);
        msim_corpus_close(corpus);
        assert_int_equal(count_known(0), cases[i].has_bars ? count_rows() : 0);
        folder_clean(NULL);
    }
}

static void a_corpus_in_memory_has_none(void **state) {
    (void)state;
    static const float rows[6] = {1, 2, 3, 4, 5, 6};
    msim_corpus *corpus;
    msim_bar_span bars = {.from_bar = 7};
    ok(msim_corpus_open_rows(rows, 3, 2, NULL, NULL, &corpus, &err));
    assert_int_equal(msim_corpus_has_bars(corpus, &err), 0);
    ok(msim_corpus_bars(corpus, 2, &bars, &err));
    assert_int_equal(bars.from_bar, 0);
    msim_corpus_close(corpus);
}

/* A file in SMPTE frames, beside one that has bars. */
static void a_file_without_bars(void **state) {
    (void)state;
    make_files();
    file f = load(one);
    f.bytes[12] = 0xe7, f.bytes[13] = 40;
    write_file(one, f.bytes, f.n);
    free(f.bytes);
    assert_int_equal(run_job(WINDOW, false, false, 1), MSIM_JOB_WRITTEN);
    int64_t n = count_rows();
    assert_true(n > 0); /* so many ticks to a quarter are soon over */
    assert_int_equal(count_known(0), 0);
    assert_int_equal(run_job(WINDOW, false, true, 2), MSIM_JOB_WRITTEN);
    assert_int_equal(count_known(0), count_rows() - n);
    folder_clean(NULL);
}

/* ---- Before there were bars ---- */

static void rename_bars(const char *name) {
    file f = load(description);
    unsigned char *at = memmem(f.bytes, f.n, "\"bars\":", 7);
    assert_non_null(at);
    memcpy(at + 1, name, 4);
    write_file(description, f.bytes, f.n);
    free(f.bytes);
}

static void older_descriptions_have_none(void **state) {
    (void)state;
    make_files();
    assert_int_equal(run_job(WINDOW, false, false, 1), MSIM_JOB_WRITTEN);
    int64_t n = count_rows();
    file before = load(description);
    rename_bars("none");
    unlink(journal);
    assert_int_equal(count_known(0), 0);
    /* What is there stays as it is; what comes has its bars. */
    assert_int_equal(run_job(WINDOW, false, true, 1), MSIM_JOB_UP_TO_DATE);
    assert_true(description_says("\"none\":"));
    assert_int_equal(run_job(WINDOW, false, true, 2), MSIM_JOB_WRITTEN);
    assert_int_equal(count_known(0), count_rows() - n);
    assert_int_equal(count_known(n), count_rows() - n);
    free(before.bytes);
    folder_clean(NULL);
}

/* The record of the one content of a journal of one block. */
typedef struct {
    file f;
    size_t block, at; /* bytes of the block and of the record */
    uint32_t bytes, n_windows;
    size_t bars; /* in the record */
} kept_journal;

static kept_journal find_record(void) {
    uint32_t n_text;
    kept_journal k = {.f = load(journal)};
    memcpy(&n_text, k.f.bytes + 8, 4);
    k.block = HEAD + ((n_text + 7) & ~(size_t)7);
    k.at = k.block + BLOCK_HEAD;
    while (k.f.bytes[k.at] != 1) {
        memcpy(&k.bytes, k.f.bytes + k.at + 4, 4);
        k.at += k.bytes;
        assert_true(k.at + HEAD < k.f.n);
    }
    memcpy(&k.bytes, k.f.bytes + k.at + 4, 4);
    memcpy(&k.n_windows, k.f.bytes + k.at + 56, 4);
    k.bars = HEAD + k.n_windows * (SPAN + (size_t)dim * 4);
    return k;
}

static void write_journal(const kept_journal *k) {
    uint64_t n_block;
    memcpy(&n_block, k->f.bytes + k->block + 8, 8);
    uint32_t crc = (uint32_t)crc32(0, k->f.bytes + k->block + 8, (uInt)(24 + n_block));
    memcpy(k->f.bytes + k->block + 4, &crc, 4);
    write_file(journal, k->f.bytes, k->f.n);
}

/* Take the bars out of the record, as it was written before there were any. */
static void drop_bars(kept_journal *k) {
    const uint32_t none = 0,
                   shorter = (uint32_t)((k->bars + 7) & ~(size_t)7), /* nothing follows them */
        gone = k->bytes - shorter;
    uint64_t n_block;
    assert_true(gone >= k->n_windows * BARS - 8);
    memset(k->f.bytes + k->at + k->bars, 0, shorter - k->bars);
    memcpy(k->f.bytes + k->at + 4, &shorter, 4);
    memcpy(k->f.bytes + k->at + 60, &none, 4);
    memcpy(&n_block, k->f.bytes + k->block + 8, 8);
    n_block -= gone;
    memcpy(k->f.bytes + k->block + 8, &n_block, 8);
    unsigned char *end = k->f.bytes + k->at + k->bytes;
    memmove(end - gone, end, (size_t)(k->f.bytes + k->f.n - end));
    k->f.n -= gone;
}

static void unlink_corpus(void) {
    unlink(output);
    unlink(description);
}

static void older_journals_have_none(void **state) {
    (void)state;
    make_files();
    assert_int_equal(run_job(WINDOW, false, false, 1), MSIM_JOB_WRITTEN);
    int64_t n = count_rows();
    file rows = load(output);
    kept_journal k = find_record();
    assert_int_equal(k.n_windows, n);
    drop_bars(&k);
    write_journal(&k);
    unlink_corpus();
    assert_int_equal(run_job(WINDOW, false, false, 2), MSIM_JOB_WRITTEN); /* goes on with it */
    assert_int_equal(count_known(0), count_rows() - n);
    file again = load(output);
    assert_memory_equal(rows.bytes + rows.n / 2, again.bytes + rows.n / 2, rows.n / 8);
    free(rows.bytes);
    free(again.bytes);
    free(k.f.bytes);
    folder_clean(NULL);
}

/* ---- What lies ---- */

static void journals_that_lie_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t offset; /* from the bars of a row; -4: the number that says whether there are any */
        uint32_t value;
    } lies[] = {{0, 0}, {0, UINT32_MAX}, {4, 0}, {8, 0xffff}, {8, 0xffff0000}, {8, 61200}};
    make_files();
    assert_int_equal(run_job(WINDOW, false, false, 1), MSIM_JOB_WRITTEN);
    kept_journal good = find_record();
    for (size_t i = 0; i <= sizeof lies / sizeof *lies; i++) {
        kept_journal k = find_record();
        const uint32_t two_bars = 2;
        if (i == sizeof lies / sizeof *lies)
            memcpy(k.f.bytes + k.at + 60, &two_bars, 4);
        else
            memcpy(k.f.bytes + k.at + k.bars + BARS + lies[i].offset, &lies[i].value, 4);
        write_journal(&k);
        unlink_corpus();
        assert_int_equal(run_job(WINDOW, false, false, 1), -MSIM_E_FORMAT);
        assert_non_null(strstr(err.text, "no record begins here"));
        free(k.f.bytes);
        write_journal(&good);
    }
    assert_int_equal(run_job(WINDOW, false, false, 1), MSIM_JOB_WRITTEN);
    free(good.f.bytes);
    folder_clean(NULL);
}

static void descriptions_that_lie_are_refused(void **state) {
    (void)state;
    /* Base64 of the first row's bars: its first is 0 alone; it ends before it begins; a beat that
     * no bar has; no base64; and of no bars at all. */
    static const struct {
        const char *text, *says;
    } lies[] = {{"AAAA", "cannot be some"},
                {"/////w", "cannot be some"},
                {"AQAAAAEAAADw7wAA", "cannot be some"},
                {"!", "not those of"},
                {"\"", "not those of"}};
    make_files();
    assert_int_equal(run_job(WINDOW, false, false, 1), MSIM_JOB_WRITTEN);
    file good = load(description);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        msim_corpus *corpus;
        msim_bar_span bars;
        msim_span span;
        file f = load(description);
        unsigned char *at = memmem(f.bytes, f.n, "\"bars\":\"", 8);
        assert_non_null(at);
        memcpy(at + 8, lies[i].text, strlen(lies[i].text));
        write_file(description, f.bytes, f.n);
        free(f.bytes);
        corpus = open_corpus();
        ok(msim_corpus_span(corpus, 0, &span, &err));
        assert_int_equal(msim_corpus_bars(corpus, 0, &bars, &err), -MSIM_E_FORMAT);
        assert_non_null(strstr(err.text, lies[i].says));
        assert_int_equal(msim_corpus_has_bars(corpus, NULL), -MSIM_E_FORMAT);
        msim_corpus_close(corpus);
        assert_int_equal(run_job(WINDOW, false, true, 2), -MSIM_E_ARG);
        assert_non_null(strstr(err.text, lies[i].says));
        write_file(description, good.bytes, good.n);
    }
    free(good.bytes);
    folder_clean(NULL);
}

/* ---- Searches ---- */

static int64_t n_checked;

/* A query that is a piece of the corpus: the best row of it lies where the query's window does. */
static int check_answer(void *user, const msim_answer *a) {
    const msim_corpus *corpus = user;
    msim_bar_span bars;
    assert_true(a->n_matches > 0 && a->query_spans && a->query_bars);
    ok(msim_corpus_bars(corpus, a->matches[0].row, &bars, &err));
    assert_true(bars.from_bar > 0);
    assert_memory_equal(&bars, &a->query_bars[0], sizeof bars);
    n_checked++;
    return 0;
}

static void the_window_of_a_query_has_bars(void **state) {
    (void)state;
    make_files();
    assert_int_equal(run_job(WINDOW, false, false, 2), MSIM_JOB_WRITTEN);
    msim_corpus *corpus = open_corpus();
    msim_searcher *s;
    msim_searcher_options so = msim_searcher_options_default();
    so.transpose = 0;
    so.window_tokens = WINDOW;
    so.window_step = STEP;
    ok(msim_searcher_open(model, corpus, &options, &so, &s, &err));
    ok(msim_searcher_add_file(s, one, &err));
    ok(msim_searcher_add_file(s, two, &err));
    ok(msim_searcher_run(s, check_answer, corpus, &err));
    assert_int_equal(n_checked, 2);
    msim_searcher_close(s);
    msim_corpus_close(corpus);
    folder_clean(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows_alone_have_bars),
                                       cmocka_unit_test(a_corpus_in_memory_has_none),
                                       cmocka_unit_test(a_file_without_bars),
                                       cmocka_unit_test(older_descriptions_have_none),
                                       cmocka_unit_test(older_journals_have_none),
                                       cmocka_unit_test(journals_that_lie_are_refused),
                                       cmocka_unit_test(descriptions_that_lie_are_refused),
                                       cmocka_unit_test(the_window_of_a_query_has_bars)};
    return cmocka_run_group_tests(tests, tiny_open, tiny_close);
}
