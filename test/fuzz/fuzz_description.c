/* A description (CORPUS.npy.json): what it says, its sources, the spans and bars that it gives a
 * corpus of three rows, and that what is printed of it is read back as the same. */
#include "target.h"
#include "pipeline/disk/description.h"
#include "base/mem.h"

enum { ROWS = 3 };

static volatile unsigned sum;

static void read_sources(const char *corpus) {
    msim_error err = {.code = 0};
    for (int64_t rows = 0; rows < 5; rows++) {
        ms_source *sources;
        int rc = ms_description_read_sources(corpus, rows, &sources, &err);
        check_status(rc, &err);
        if (rc != 1) continue;
        for (size_t i = 0; i < (size_t)rows * sizeof *sources; i++)
            sum += ((unsigned char *)sources)[i];
        ms_free(sources);
    }
    size_t n;
    char *text = ms_description_read_text(corpus, &n, &err);
    MUST(text || err.text[0]);
    for (size_t i = 0; text && i < n; i++) sum += (unsigned char)text[i];
    ms_free(text);
}

static void make_corpus(const char *path) {
    const msim_corpus_layout layout = {
        .size = sizeof layout, .rows = ROWS, .dim = 1, .name_chars = 1};
    const float one = 1.0f;
    msim_corpus_writer *writer;
    MUST(msim_corpus_writer_open(path, &layout, &writer, NULL) >= 0);
    for (int r = 0; r < ROWS; r++) MUST(msim_corpus_writer_add(writer, "x", 1, &one, NULL) >= 0);
    MUST(msim_corpus_writer_finish(writer, NULL) >= 0);
    msim_corpus_writer_close(writer);
}

/* What opens has pieces that begin where they say, and bars that run forward. */
static void read_places(const char *path) {
    static bool is_made;
    msim_error err = {.code = 0};
    msim_corpus *corpus;
    msim_span span;
    msim_bar_span bars;
    if (!is_made) make_corpus(path);
    is_made = true;
    MUST(msim_corpus_open(path, NULL, &corpus, &err) >= 0);
    for (int64_t row = 0; row < ROWS; row++) {
        int rc = msim_corpus_span(corpus, row, &span, &err);
        check_status(rc, &err);
        if (rc >= 0) MUST(msim_corpus_piece_first(corpus, span.piece, &err) <= row);
        rc = msim_corpus_bars(corpus, row, &bars, &err);
        check_status(rc, &err);
        if (rc >= 0 && bars.from_bar)
            MUST(bars.from_bar <= bars.to_bar && bars.from_beat >= 1 && bars.to_beat < 256);
    }
    msim_corpus_close(corpus);
}

static void print_and_parse(ms_description *d) {
    msim_error err = {.code = 0};
    ms_description again;
    char what[300] = "";
    memset(&again, 0, sizeof again);
    char *text = ms_description_print(d, &err);
    MUST(text != NULL);
    MUST(ms_description_parse(text, strlen(text), "again", &again, &err) == 1);
    MUST(!ms_description_differs(d, &again, what, sizeof what));
    MUST(d->rows == again.rows && d->files == again.files && d->unread == again.unread);
    ms_free(text);
    ms_description_add_level(d, "avx2");
    MUST(ms_description_has_level(d, d->level));
    ms_description_add_levels(d, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX], corpus[PATH_MAX];
    ms_description d;
    msim_error err = {.code = 0};
    memset(&d, 0, sizeof d);
    as_file(path, "c.npy.json", data, n_bytes);
    int rc = ms_description_read(fuzz_path(corpus, "c.npy"), &d, &err);
    check_status(rc, &err);
    read_sources(corpus);
    read_places(corpus);
    if (rc == 1) print_and_parse(&d);
    return 0;
}
