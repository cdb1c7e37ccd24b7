/* Spans and sources as members of CORPUS.npy.json: pipeline/disk/sources.h. */
#define _GNU_SOURCE
#include "pipeline/disk/sources.h"
#include "base/text/base64.h"
#include "base/hash/digest.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES ((size_t)1 << 16) /* settings are far shorter */
#define KEY_CHARS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_."
#define SPANS_KEY MS_TEXT_SPANS
#define SOURCES_KEY MS_TEXT_SOURCES
#define BARS_KEY MS_TEXT_BARS

_Static_assert(sizeof(ms_source) == 32, "as documented");

/* ---- Writing ---- */

enum { GROUP = 3 }; /* records that are whole groups of base64 */

static int put_spans(ms_out_file *file, const ms_description_rows *rows, int64_t n,
                     msim_error *err) {
    ms_stored_span span;
    int rc = 0;
    ms_out_file_put(file, "," SPANS_KEY ":\"", strlen("," SPANS_KEY ":\""));
    for (int64_t row = 0; row < n && rc >= 0; row++) {
        rc = rows->span(rows->user, row, &span, err);
        if (rc >= 0) ms_base64_put(file, &span, sizeof span);
    }
    ms_out_file_put(file, "\"", 1);
    return rc;
}

static int put_bars(ms_out_file *file, const ms_description_rows *rows, int64_t n,
                    msim_error *err) {
    ms_stored_bars bars;
    int rc = 0;
    ms_out_file_put(file, "," BARS_KEY ":\"", strlen("," BARS_KEY ":\""));
    for (int64_t row = 0; row < n && rc >= 0; row++) {
        rc = rows->bars(rows->user, row, &bars, err);
        if (rc >= 0) ms_base64_put(file, &bars, sizeof bars);
    }
    ms_out_file_put(file, "\"", 1);
    return rc;
}

static void put_sources(ms_out_file *file, const ms_description_rows *rows, int64_t n) {
    ms_source group[GROUP];
    ms_out_file_put(file, "," SOURCES_KEY ":\"", strlen("," SOURCES_KEY ":\""));
    for (int64_t row = 0; row < n; row += GROUP) {
        int64_t some = n - row < GROUP ? n - row : GROUP;
        for (int64_t i = 0; i < some; i++) rows->source(rows->user, row + i, group + i);
        ms_base64_put(file, group, (size_t)some * sizeof *group);
    }
    ms_out_file_put(file, "\"", 1);
}

static void put_words(ms_out_file *file, const char *text) {
    ms_out_file_put(file, text, strlen(text));
}

/* What the settings say about the whitening. */
static int put_whitening(ms_out_file *file, const ms_description_rows *rows, msim_error *err) {
    msim_whitening_info i = {.size = sizeof i};
    char text[512], key[65];
    int rc = msim_whitening_get_info(rows->whitening, &i);
    if (rc < 0) return ms_fail(err, -rc, "this whitening cannot say what it is");
    snprintf(text, sizeof text,
             ",\"whitening\":{\"dim\":%lld,\"rows\":%lld,\"distinct\":%lld,\"prior_rows\":%lld,"
             "\"shrink\":%.17g,\"hash\":\"%s\"",
             (long long)i.dim, (long long)i.rows, (long long)i.distinct, (long long)i.prior_rows,
             i.shrink, i.hash);
    put_words(file, text);
    if (rows->key) {
        snprintf(key, sizeof key, "%s", rows->key);
        snprintf(text, sizeof text, ",\"key\":\"%s\"", key);
        put_words(file, text);
    }
    if (i.pairs) {
        snprintf(text, sizeof text,
                 ",\"pairs\":%lld,\"pieces\":%lld,\"quantiles\":", (long long)i.pairs,
                 (long long)i.pieces);
        put_words(file, text);
    }
    for (int q = 0; q < i.n_quantiles && i.pairs; q++) {
        snprintf(text, sizeof text, "%s%.17g", q ? "," : "[", i.quantiles[q]);
        put_words(file, text);
    }
    put_words(file, i.pairs ? "]}" : "}");
    return 0;
}

/* The map itself: mean and factor. */
static int put_whitener(ms_out_file *file, const ms_description_rows *rows, msim_error *err) {
    msim_whitening_info i = {.size = sizeof i};
    int rc = msim_whitening_get_info(rows->whitening, &i);
    if (rc < 0) return ms_fail(err, -rc, "this whitening cannot say what it is");
    size_t dim = (size_t)i.dim, n = dim + dim * (dim + 1) / 2;
    float *numbers = ms_alloc(n, sizeof *numbers, "whitening", err);
    if (!numbers) return -MSIM_E_MEMORY;
    msim_whitening_map(rows->whitening, numbers, numbers + dim);
    put_words(file, "," MS_TEXT_WHITENER ":\"");
    ms_base64_put(file, numbers, n * sizeof *numbers);
    put_words(file, "\"");
    ms_free(numbers);
    return 0;
}

int ms_description_write_to(const char *path, const ms_description *description,
                            const ms_description_rows *rows, msim_error *err) {
    static const ms_description_rows none;
    ms_out_file file = {.fd = -1};
    ms_description settings = *description;
    *settings.whitening = 0; /* of the rows as they now are, and said in full below */
    char *text = ms_description_print(&settings, err);
    if (!text) return -MSIM_E_MEMORY;
    if (!rows || !description->rows) rows = &none;
    if (rows->key && strspn(rows->key, KEY_CHARS) != strlen(rows->key)) {
        ms_free(text);
        return ms_fail(err, MSIM_E_ARG, "whitened options: key: expected letters and digits");
    }
    int rc = ms_out_file_open(&file, path, "", 0, err);
    if (rc >= 0) {
        ms_out_file_put(&file, text, strlen(text) - 1); /* without its closing brace */
        if (rows->whitening) rc = put_whitening(&file, rows, err);
    }
    if (rc >= 0) {
        if (rows->span) rc = put_spans(&file, rows, description->rows, err);
        if (rows->source) put_sources(&file, rows, description->rows);
        if (rows->whitening && rc >= 0) rc = put_whitener(&file, rows, err);
        if (rows->bars && rc >= 0) rc = put_bars(&file, rows, description->rows, err);
        ms_out_file_put(&file, "}\n", 2);
    }
    ms_free(text);
    if (rc >= 0) rc = ms_out_file_finish(&file, err);
    ms_out_file_close(&file);
    return rc;
}

/* ---- Reading ---- */

/* The beginning of a description that is open, and where the texts behind its settings are. */
typedef struct {
    char *head; /* owned: [n] */
    int64_t n;
    size_t end; /* the comma behind the settings; 0: no text follows */
    bool has_spans;
    size_t spans, sources; /* where their texts begin; sources: 0 behind spans */
} beginning;

/* Open a description and read its beginning. Returns its descriptor, or -1: then *rc is 0 when the
 * file is not there or not regular, < 0 when it cannot be read. */
static int open_beginning(const char *path, beginning *b, int *rc, msim_error *err) {
    struct stat st;
    size_t comma;
    *b = (beginning){0};
    *rc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno != ENOENT) *rc = ms_fail_errno(err, errno, "cannot open: %s", path);
    if (fd < 0) return -1;
    if (fstat(fd, &st) != 0)
        *rc = ms_fail_errno(err, errno, "cannot examine: %s", path);
    else if (S_ISREG(st.st_mode) && !(b->head = ms_alloc(HEAD_BYTES + 1, 1, "description", err)))
        *rc = -MSIM_E_MEMORY;
    if (b->head && (b->n = ms_base64_read_raw(fd, 0, b->head, HEAD_BYTES)) < 0)
        *rc = ms_fail_errno(err, errno, "cannot read: %s", path);
    if (*rc < 0 || !b->head) {
        close(fd);
        return -1;
    }
    b->has_spans = ms_base64_find(b->head, (size_t)b->n, SPANS_KEY, &b->end, &b->spans);
    if (!b->has_spans) {
        size_t text;
        if (!ms_base64_find(b->head, (size_t)b->n, SOURCES_KEY, &b->end, &b->sources) &&
            !ms_base64_find(b->head, (size_t)b->n, MS_TEXT_WHITENER, &b->end, &text))
            b->end = 0;
    } else if (ms_base64_find(b->head, (size_t)b->n, SOURCES_KEY, &comma, &b->sources) &&
               comma < b->end) {
        b->has_spans =
            false; /* no description is written like this: the settings end before the first text */
        b->end = comma;
    }
    return fd;
}

int ms_sources_read_head(const char *path, char **out, size_t *n, msim_error *err) {
    beginning b;
    int rc, fd = open_beginning(path, &b, &rc, err);
    *out = NULL;
    if (fd >= 0) close(fd);
    if (fd < 0 || !b.end) {
        ms_free(b.head);
        return rc;
    }
    b.head[b.end] = '}';
    *n = b.end + 1;
    *out = b.head;
    return 1;
}

/* Where the text of the sources begins in the file; 0: there is none; < 0: it cannot be read.
 * Behind spans, whose length the number of rows tells, it need not be in the beginning. */
static int64_t find_sources(int fd, const beginning *b, int64_t rows, const char *path,
                            msim_error *err) {
    if (!b->has_spans) return (int64_t)b->sources;
    int64_t at = (int64_t)b->spans + ms_base64_chars(rows * (int64_t)sizeof(ms_stored_span)),
            text = ms_base64_find_behind(fd, at, SOURCES_KEY);
    return text < 0 ? ms_fail_errno(err, errno, "cannot read: %s", path) : text;
}

/* A hash of zeros stands for any content. */
static int check_hashes(const ms_source *sources, int64_t rows, const char *path, msim_error *err) {
    for (int64_t row = 0; row < rows; row++)
        if (ms_digest_is_zero(sources[row].sha256, sizeof sources[row].sha256))
            return ms_fail(err, MSIM_E_FORMAT,
                           "damaged description of a corpus: %s: source of row %lld: the hash of "
                           "its content is missing",
                           path, (long long)row);
    return 0;
}

int ms_description_read_sources(const char *corpus, int64_t rows, ms_source **out,
                                msim_error *err) {
    char path[4352];
    beginning b = {0};
    int rc = 0;
    *out = NULL;
    int fd = ms_description_path(corpus, path, sizeof path) ? open_beginning(path, &b, &rc, err)
                                                            : -1;
    int64_t at = fd >= 0 ? find_sources(fd, &b, rows, path, err) : 0;
    if (at < 0) rc = (int)at;
    ms_free(b.head);
    ms_source *sources = at > 0 ? ms_alloc((size_t)rows, sizeof *sources, "sources of rows", err)
                                : NULL;
    if (at > 0 && !sources) rc = -MSIM_E_MEMORY;
    if (sources) rc = ms_base64_read(fd, at, sources, (size_t)rows * sizeof *sources, err);
    if (fd >= 0) close(fd);
    if (sources && rc == 0)
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "damaged description of a corpus: %s: \"sources\" does not hold %lld times 32 "
                     "bytes in base64",
                     path, (long long)rows);
    if (rc > 0) rc = check_hashes(sources, rows, path, err);
    if (rc < 0 || !sources) {
        ms_free(sources);
        return rc;
    }
    *out = sources;
    return 1;
}
