/* Files of fits (.whiten), written and read as hostile input: docs/FORMATS.md, Fits. */
#include "base/file.h"
#include "base/hash/digest.h"
#include "base/map.h"
#include "base/mem.h"
#include "whiten/whitening.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { VERSION = 2, HEAD_BYTES = 272 };
static const char magic[8] = {'M', 'S', 'I', 'M', 'W', 'H', 'I', 'T'};

typedef struct {
    char magic[8];
    uint32_t version, zero;
    int64_t dim, rows, distinct, prior_rows;
    double shrink;
    int64_t pairs, pieces, n_knots;
    double knots[MS_BACKGROUND_KNOTS];
    int64_t altered;
    double nuisance_weight;
    char model[64]; /* SHA-256 of the model in hexadecimal, or zeros */
    unsigned char digest[MS_SHA256_BYTES];
} fit_head;
_Static_assert(sizeof(fit_head) == HEAD_BYTES, "as documented");
_Static_assert(offsetof(fit_head, digest) == 240, "as documented");

/* The hash of the head with its own bytes 0, and of the numbers behind it. */
static int digest_of(unsigned char *out, const fit_head *head, const void *numbers, size_t n_bytes,
                     msim_error *err) {
    fit_head h = *head;
    ms_digest digest;
    memset(h.digest, 0, sizeof h.digest);
    ms_digest_begin(&digest, MS_DIGEST_SHA256);
    ms_digest_add(&digest, &h, sizeof h);
    ms_digest_add(&digest, numbers, n_bytes);
    return ms_digest_end(&digest, out, err);
}

/* Mean, covariance, and the nuisance if there is one. */
static size_t number_count(const fit_head *h) {
    return (size_t)h->dim + (h->altered ? 2 : 1) * ms_whiten_triangle((size_t)h->dim);
}

static float *put_numbers(float *to, const double *from, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = (float)from[i];
    return to + n;
}

static const float *get_numbers(double *to, const float *from, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = from[i];
    return from + n;
}

/* ---- Writing ---- */

static fit_head make_head(const msim_whitening *w) {
    const ms_background *b = &w->background;
    fit_head h = {.version = VERSION,
                  .dim = w->stats.dim,
                  .rows = w->stats.rows,
                  .distinct = w->stats.distinct,
                  .prior_rows = w->stats.prior_rows,
                  .shrink = w->shrink,
                  .pairs = b->pairs,
                  .pieces = b->pieces,
                  .n_knots = b->n_knots,
                  .altered = w->stats.altered,
                  .nuisance_weight = w->nuisance_weight};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.knots, b->knots, sizeof h.knots);
    memcpy(h.model, w->model, strnlen(w->model, sizeof h.model));
    return h;
}

int msim_whitening_save(const msim_whitening *w, const char *path, msim_error *err) {
    ms_out_file f = {.fd = -1};
    const ms_whiten_stats *s = &w->stats;
    size_t dim = (size_t)s->dim;
    if (!s->covariance)
        return ms_fail(err, MSIM_E_ARG,
                       "whitening: %s: not written, because a whitened corpus does not hold the "
                       "statistics of its fit",
                       path);
    fit_head h = make_head(w);
    size_t n_bytes = number_count(&h) * sizeof(float);
    float *numbers = ms_alloc(n_bytes, 1, "whitening", err);
    if (!numbers) return -MSIM_E_MEMORY;
    float *to = put_numbers(numbers, s->mean, dim);
    to = put_numbers(to, s->covariance, ms_whiten_triangle(dim));
    if (s->altered) put_numbers(to, s->nuisance, ms_whiten_triangle(dim));
    int rc = digest_of(h.digest, &h, numbers, n_bytes, err);
    if (rc >= 0) rc = ms_out_file_open(&f, path, "", 0, err);
    if (rc >= 0) {
        ms_out_file_put(&f, &h, sizeof h);
        ms_out_file_put(&f, numbers, n_bytes);
        rc = ms_out_file_finish(&f, err);
    }
    ms_out_file_close(&f);
    ms_free(numbers);
    return rc;
}

/* ---- Reading ---- */

/* 64 lower-case hexadecimal digits, or zeros. */
static bool is_hash(const char *text, size_t n) {
    size_t n_zeros = 0, n_digits = 0;
    for (size_t i = 0; i < n; i++) {
        n_zeros += text[i] == 0;
        n_digits += text[i] && strchr("0123456789abcdef", text[i]);
    }
    return n_zeros == n || n_digits == n;
}

static int check_head(const fit_head *h, const char *path, msim_error *err) {
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: it does not begin with MSIMWHIT", path);
    if (h->version != VERSION)
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: expected version %d, got %" PRIu32, path,
                       VERSION, h->version);
    if (h->dim < 1 || h->dim > MS_WHITEN_DIM_MAX)
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: expected a width of 1..%d, got %" PRId64, path,
                       MS_WHITEN_DIM_MAX, h->dim);
    if (h->zero || h->distinct < 0 || h->rows < h->distinct || h->prior_rows < 0 ||
        h->altered < 0 || h->rows > INT64_MAX / 4 || h->prior_rows > INT64_MAX / 4 ||
        h->altered > INT64_MAX / 4)
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: a count in its head cannot be one", path);
    if (!is_hash(h->model, sizeof h->model))
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: the model's hash is none", path);
    if (!(h->shrink > 0.0 && h->shrink <= MSIM_WHITENING_MOST_SHRINK))
        return ms_fail(err, MSIM_E_FORMAT,
                       "fit: %s: shrink: expected more than 0, at most %g, got %g", path,
                       MSIM_WHITENING_MOST_SHRINK, h->shrink);
    if (!(h->nuisance_weight >= 0.0 && h->nuisance_weight <= MSIM_WHITENING_MOST_NUISANCE) ||
        signbit(h->nuisance_weight)) /* -0 would be saved as 0, so that the bytes differ */
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: nuisance weight: expected 0 to %g, got %g",
                       path, MSIM_WHITENING_MOST_NUISANCE, h->nuisance_weight);
    if (!h->altered && h->nuisance_weight != 0.0)
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: a nuisance weight without altered copies",
                       path);
    return MSIM_OK;
}

static int check_numbers(const ms_whiten_stats *s, const char *path, msim_error *err) {
    const double *c = s->covariance, *n = s->nuisance;
    bool is_bad = false;
    /* of unit rows: no component of a mean or product is over 1, but for rounding */
    for (int64_t i = 0; i < s->dim; i++) {
        is_bad |= !(fabs(s->mean[i]) <= 1.001);
        for (int64_t j = 0; j <= i; j++) {
            is_bad |= !(fabs(*c++) <= 2.0);
            is_bad |= n && !(fabs(*n++) <= 2.001); /* |d| is 2 at most */
        }
    }
    return is_bad ? ms_fail(err, MSIM_E_FORMAT, "fit: %s: numbers that no unit rows have", path)
                  : MSIM_OK;
}

static int read_stats(const fit_head *h, const float *numbers, const char *path,
                      ms_whiten_stats *out, msim_error *err) {
    size_t dim = (size_t)h->dim;
    int rc = ms_whiten_stats_open(out, h->dim, err);
    if (rc < 0) return rc;
    out->rows = h->rows;
    out->distinct = h->distinct;
    out->prior_rows = h->prior_rows;
    out->altered = h->altered;
    if (h->altered) rc = ms_whiten_nuisance_open(out, err);
    if (rc >= 0) {
        numbers = get_numbers(out->mean, numbers, dim);
        numbers = get_numbers(out->covariance, numbers, ms_whiten_triangle(dim));
        if (h->altered) get_numbers(out->nuisance, numbers, ms_whiten_triangle(dim));
        rc = check_numbers(out, path, err);
    }
    if (rc < 0) ms_whiten_stats_close(out);
    return rc;
}

static int open_mapped(const ms_map *map, const char *path, msim_whitening **out, msim_error *err) {
    fit_head h;
    ms_whiten_stats stats;
    unsigned char digest[MS_SHA256_BYTES];
    msim_error why = {0};
    if (map->n_bytes < HEAD_BYTES)
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: expected %d bytes of head, got %zu", path,
                       HEAD_BYTES, map->n_bytes);
    memcpy(&h, map->data, sizeof h);
    int rc = check_head(&h, path, err);
    if (rc < 0) return rc;
    size_t n_bytes = number_count(&h) * sizeof(float);
    if (map->n_bytes != HEAD_BYTES + n_bytes)
        return ms_fail(err, MSIM_E_FORMAT, "fit: %s: expected %zu bytes, got %zu", path,
                       HEAD_BYTES + n_bytes, map->n_bytes);
    const float *numbers = (const float *)(const void *)(map->data + HEAD_BYTES);
    rc = digest_of(digest, &h, numbers, n_bytes, err);
    if (rc >= 0 && memcmp(digest, h.digest, sizeof digest) != 0)
        rc = ms_fail(err, MSIM_E_FORMAT, "fit: %s: damaged: its hash is wrong", path);
    ms_background background = {.pairs = h.pairs, .pieces = h.pieces, .n_knots = (int)h.n_knots};
    memcpy(background.knots, h.knots, sizeof background.knots);
    if (rc >= 0 && (h.n_knots != background.n_knots || !ms_background_is_valid(&background)))
        rc = ms_fail(err, MSIM_E_FORMAT, "fit: %s: the quantiles in its head cannot be any", path);
    if (rc >= 0) rc = read_stats(&h, numbers, path, &stats, err);
    if (rc >= 0 && (rc = ms_whiten_from_stats(&stats, h.shrink, h.nuisance_weight, out, &why)) < 0)
        rc = ms_fail(err, rc == -MSIM_E_MEMORY ? MSIM_E_MEMORY : MSIM_E_FORMAT, "fit: %s: %.300s",
                     path, why.text);
    if (rc >= 0) {
        (*out)->background = background;
        memcpy((*out)->model, h.model, sizeof h.model);
    }
    return rc;
}

int msim_whitening_open(const char *path, msim_whitening **out, msim_error *err) {
    ms_map map;
    *out = NULL;
    int rc = ms_map_open(path, MS_MAP_NORMAL, &map, err);
    if (rc < 0) return rc;
    rc = open_mapped(&map, path, out, err);
    ms_map_close(&map);
    return rc;
}
