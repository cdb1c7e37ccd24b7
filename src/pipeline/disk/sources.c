/* Spans and sources as members of CORPUS.npy.json: pipeline/disk/sources.h. */
#define _GNU_SOURCE
#include "pipeline/disk/sources.h"
#include "base/text/base64.h"
#include "base/text/number.h"
#include "base/hash/digest.h"
#include "base/mem.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

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
    char text[512], key[65], digits[MS_NUMBER_BYTES];
    int rc = msim_whitening_get_info(rows->whitening, &i);
    if (rc < 0) return ms_fail(err, -rc, "this whitening cannot say what it is");
    snprintf(text, sizeof text,
             ",\"whitening\":{\"dim\":%lld,\"rows\":%lld,\"distinct\":%lld,\"prior_rows\":%lld,"
             "\"shrink\":%s,\"hash\":\"%s\"",
             (long long)i.dim, (long long)i.rows, (long long)i.distinct, (long long)i.prior_rows,
             ms_number_print(i.shrink, 17, digits), i.hash);
    put_words(file, text);
    if (i.altered) {
        snprintf(text, sizeof text, ",\"altered\":%lld,\"nuisance_weight\":%s",
                 (long long)i.altered, ms_number_print(i.nuisance_weight, 17, digits));
        put_words(file, text);
    }
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
        put_words(file, q ? "," : "[");
        put_words(file, ms_number_print(i.quantiles[q], 17, digits));
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

/* A description that is open, and where the texts behind its settings are. */
typedef struct {
    ms_base64_head head;
    size_t end; /* the comma behind the settings; 0: no text follows */
    bool has_spans;
    size_t spans, sources; /* where their texts begin; sources: 0 behind spans */
} settings_file;

static bool find(const settings_file *d, const char *key, size_t *comma, size_t *text) {
    return ms_base64_find(d->head.text, d->head.n, key, comma, text);
}

/* As ms_base64_open. */
static int open_description(const char *path, settings_file *d, msim_error *err) {
    size_t comma, text;
    *d = (settings_file){0};
    int rc = ms_base64_open(path, &d->head, err);
    if (rc < 1) return rc;
    d->has_spans = find(d, SPANS_KEY, &d->end, &d->spans);
    if (!d->has_spans) {
        if (!find(d, SOURCES_KEY, &d->end, &d->sources) &&
            !find(d, MS_TEXT_WHITENER, &d->end, &text))
            d->end = 0;
    } else if (find(d, SOURCES_KEY, &comma, &d->sources) && comma < d->end) {
        /* no description is written like this: the settings end before the first text */
        d->has_spans = false;
        d->end = comma;
    }
    return rc;
}

int ms_sources_read_head(const char *path, char **out, size_t *n, msim_error *err) {
    settings_file d;
    *out = NULL;
    int rc = open_description(path, &d, err);
    if (rc < 1) return rc;
    if (d.end) {
        d.head.text[d.end] = '}';
        *n = d.end + 1;
        *out = d.head.text;
        d.head.text = NULL; /* the caller's */
    }
    ms_base64_close(&d.head);
    return *out != NULL;
}

/* Where the text of the sources begins in the file; 0: there is none; < 0: it cannot be read.
 * Behind spans, whose length the number of rows tells, it need not be in the beginning. */
static int64_t find_sources(const settings_file *d, int64_t rows, const char *path,
                            msim_error *err) {
    if (!d->has_spans) return (int64_t)d->sources;
    int64_t at = (int64_t)d->spans + ms_base64_chars(rows * (int64_t)sizeof(ms_stored_span)),
            text = ms_base64_find_behind(d->head.fd, at, SOURCES_KEY);
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

/* The sources of an open description, *out [rows]: 1; 0: it has none. */
static int read_sources(const settings_file *d, int64_t rows, const char *path, ms_source **out,
                        msim_error *err) {
    int64_t at = find_sources(d, rows, path, err);
    if (at <= 0) return (int)at;
    ms_source *sources = ms_alloc((size_t)rows, sizeof *sources, "sources of rows", err);
    if (!sources) return -MSIM_E_MEMORY;
    int rc = ms_base64_read(d->head.fd, at, sources, (size_t)rows * sizeof *sources, err);
    if (rc == 0)
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "damaged description of a corpus: %s: \"sources\" does not hold %lld times 32 "
                     "bytes in base64",
                     path, (long long)rows);
    if (rc > 0) rc = check_hashes(sources, rows, path, err);
    if (rc < 0) {
        ms_free(sources);
        return rc;
    }
    *out = sources;
    return 1;
}

int ms_description_read_sources(const char *corpus, int64_t rows, ms_source **out,
                                msim_error *err) {
    char path[4352];
    settings_file d;
    *out = NULL;
    if (!ms_description_path(corpus, path, sizeof path)) return 0;
    int rc = open_description(path, &d, err);
    if (rc < 1) return rc;
    rc = read_sources(&d, rows, path, out, err);
    ms_base64_close(&d.head);
    return rc;
}
