/* The whitening of a corpus, read from FILE.json beside each of its files: the member "whitening"
 * of the settings, and the text "whitener" at the very end. docs/FORMATS.md, CORPUS.npy.json. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "base/text/base64.h"
#include "base/text/json.h"
#include "corpus/fits/whiten.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct ms_whitened {
    pthread_mutex_t lock;
    _Atomic bool is_read;
    msim_whitening *map; /* owned; NULL: not whitened */
};

int ms_whitened_open(ms_whitened **out, msim_error *err) {
    ms_whitened *w = ms_alloc(1, sizeof *w, "whitening", err);
    *out = w;
    if (!w) return -MSIM_E_MEMORY;
    pthread_mutex_init(&w->lock, NULL);
    return MSIM_OK;
}

void ms_whitened_close(ms_whitened *w) {
    if (!w) return;
    msim_whitening_close(w->map);
    pthread_mutex_destroy(&w->lock);
    ms_free(w);
}

/* ---- A description ---- */

typedef struct {
    const char *path; /* of the description */
    ms_base64_head head;
    int64_t n_rows; /* of the file that it describes */
} description_file;

static int damaged(const description_file *d, const char *what, msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "damaged description of a corpus: %s: %s", d->path, what);
}

/* Where the text of the whitening begins in the file; 0: it has none. */
static int64_t find_text(const description_file *d, size_t *settings_end, msim_error *err) {
    int64_t at = ms_base64_find_text(&d->head, MS_TEXT_WHITENER, d->n_rows, 0, settings_end);
    return at < 0 ? ms_fail_errno(err, errno, "cannot read: %s", d->path) : at;
}

/* ---- The member of the settings ---- */

static bool get_real(const cJSON *object, const char *key, double *out) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) return false;
    *out = item->valuedouble;
    return true;
}

static bool get_background(const cJSON *from, ms_background *to) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(from, "quantiles"), *item;
    *to = (ms_background){0};
    if (!list) return true;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > MS_BACKGROUND_KNOTS ||
        !ms_json_get_int(from, "pairs", &to->pairs) ||
        !ms_json_get_int(from, "pieces", &to->pieces))
        return false;
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsNumber(item)) return false;
        to->knots[to->n_knots++] = item->valuedouble;
    }
    return ms_background_is_valid(to);
}

/* What the settings say beside the map itself. */
typedef struct {
    int64_t dim, rows, distinct, prior_rows, altered;
    double shrink, nuisance_weight;
    char hash[65], model[65], fingerprint[MSIM_FINGERPRINT_CHARS + 1]; /* the last two may be "" */
    ms_background background;
} said_whitening;

/* 1; 0: the settings know no whitening. */
static int read_settings(const description_file *d, size_t end, said_whitening *to,
                         msim_error *err) {
    msim_error why;
    *to = (said_whitening){0};
    d->head.text[end] = '}';
    cJSON *json = ms_json_parse(d->head.text, end + 1, &why);
    if (!json && why.code == MSIM_E_MEMORY) return ms_fail(err, why.code, "%s", why.text);
    if (!json) return damaged(d, "its settings are no JSON", err);
    const cJSON *from = cJSON_GetObjectItemCaseSensitive(json, "whitening"),
                *model = cJSON_GetObjectItemCaseSensitive(json, "model");
    bool is_good = ms_json_get_int(from, "dim", &to->dim) && to->dim >= 1 &&
                   to->dim <= MS_WHITEN_DIM_MAX && ms_json_get_int(from, "rows", &to->rows) &&
                   ms_json_get_int(from, "distinct", &to->distinct) &&
                   ms_json_get_int(from, "prior_rows", &to->prior_rows) &&
                   get_real(from, "shrink", &to->shrink) &&
                   ms_json_get_text(from, "hash", to->hash, sizeof to->hash) &&
                   get_background(from, &to->background);
    /* only those of fits with altered copies say so */
    if (!ms_json_get_int(from, "altered", &to->altered)) to->altered = 0;
    if (!get_real(from, "nuisance_weight", &to->nuisance_weight)) to->nuisance_weight = 0.0;
    if (!ms_json_get_text(model, "sha256", to->model, sizeof to->model)) *to->model = 0;
    if (!ms_json_get_text(json, "fingerprint", to->fingerprint, sizeof to->fingerprint))
        *to->fingerprint = 0;
    cJSON_Delete(json);
    if (!is_good) return damaged(d, "\"whitening\" is missing or has no valid value", err);
    return 1;
}

static int read_map(const description_file *d, int64_t at, const said_whitening *said,
                    msim_whitening **out, msim_error *err) {
    size_t dim = (size_t)said->dim, n = dim + ms_whiten_triangle(dim);
    char end = 0;
    int64_t n_chars = ms_base64_chars((int64_t)(n * sizeof(float)));
    if (ms_base64_read_raw(d->head.fd, at + n_chars, &end, 1) != 1 || end != '"')
        return damaged(d, "\"whitener\" is not as long as its width asks for", err);
    float *numbers = ms_alloc(n, sizeof *numbers, "whitening", err);
    msim_error why;
    if (!numbers) return -MSIM_E_MEMORY;
    int rc = ms_base64_read(d->head.fd, at, numbers, n * sizeof *numbers, err);
    if (rc == 0) rc = damaged(d, "\"whitener\" is no text of base64", err);
    if (rc > 0 && (rc = ms_whiten_from_map(said->dim, numbers, numbers + dim, out, &why)) < 0)
        rc = ms_fail(err, -rc, "damaged description of a corpus: %s: %.250s", d->path, why.text);
    ms_free(numbers);
    if (rc < 0) return rc;
    msim_whitening *w = *out;
    if (strcmp(w->hash, said->hash) != 0) {
        msim_whitening_close(w);
        *out = NULL;
        return damaged(d, "\"whitener\" has another hash than \"whitening\" says", err);
    }
    w->stats.rows = said->rows;
    w->stats.distinct = said->distinct;
    w->stats.prior_rows = said->prior_rows;
    w->stats.altered = said->altered;
    w->shrink = said->shrink;
    w->nuisance_weight = said->nuisance_weight;
    w->background = said->background;
    memcpy(w->model, said->model, sizeof w->model);
    return MSIM_OK;
}

/* ---- A corpus ---- */

/* Rows that were put in the place of whitened ones must not be taken for such. */
static int check_rows(const description_file *d, const said_whitening *said,
                      const msim_corpus *corpus, int64_t part, msim_error *err) {
    char found[MSIM_FINGERPRINT_CHARS + 1];
    msim_corpus_info info = {.size = sizeof info};
    if (msim_corpus_get_info(corpus, &info) < 0 || said->dim != info.dim)
        return ms_fail(err, MSIM_E_FORMAT,
                       "description of another corpus: %s: its whitening has width %lld, the rows "
                       "%lld",
                       d->path, (long long)said->dim, (long long)info.dim);
    if (!*said->fingerprint) return MSIM_OK;
    int rc = msim_corpus_fingerprint(corpus, part, found, err);
    if (rc < 0 || strcmp(found, said->fingerprint) == 0) return rc;
    return ms_fail(err, MSIM_E_FORMAT,
                   "description of another corpus: %s: the rows changed after they were whitened",
                   d->path);
}

static int read_description(description_file *d, const msim_corpus *corpus, int64_t part,
                            msim_whitening **out, msim_error *err) {
    said_whitening said;
    size_t end;
    int64_t at = find_text(d, &end, err);
    if (at <= 0) return (int)at;
    int rc = read_settings(d, end, &said, err);
    if (rc > 0) rc = check_rows(d, &said, corpus, part, err);
    return rc < 0 ? rc : read_map(d, at, &said, out, err);
}

static int read_part(const msim_corpus *corpus, int64_t part, msim_whitening **out,
                     msim_error *err) {
    char *path = ms_file_beside(msim_corpus_part_path(corpus, part), ".json", err);
    *out = NULL;
    if (!path) return -MSIM_E_MEMORY;
    description_file d = {.path = path, .n_rows = msim_corpus_part_rows(corpus, part)};
    int rc = ms_base64_open(path, &d.head, err);
    if (rc > 0) {
        rc = read_description(&d, corpus, part, out, err);
        ms_base64_close(&d.head);
    }
    ms_free(path);
    return rc;
}

/* Under the lock. */
static int read_all(ms_whitened *w, const msim_corpus *corpus, msim_error *err) {
    int64_t n = msim_corpus_parts(corpus), n_read = 0;
    msim_whitening *all = NULL;
    int rc = MSIM_OK;
    for (int64_t i = 0; i < n && rc >= 0; i++) {
        msim_whitening *one;
        if (msim_corpus_part_rows(corpus, i) == 0) continue;
        rc = read_part(corpus, i, &one, err);
        if (rc < 0) break;
        if (n_read++ == 0) {
            all = one;
            continue;
        }
        if (!all != !one || (all && strcmp(all->hash, one->hash) != 0))
            rc = ms_fail(err, MSIM_E_ARG,
                         "parts of the corpus are whitened differently: %.300s is not like the "
                         "first: whiten them together",
                         msim_corpus_part_path(corpus, i));
        msim_whitening_close(one);
    }
    if (rc < 0) {
        msim_whitening_close(all);
        return rc;
    }
    w->map = all;
    atomic_store(&w->is_read, true);
    return MSIM_OK;
}

int msim_corpus_whitening(const msim_corpus *corpus, const msim_whitening **out, msim_error *err) {
    ms_whitened *w = ms_corpus_whitened(corpus);
    int rc = MSIM_OK;
    *out = NULL;
    if (!w) return MSIM_OK;
    if (!atomic_load(&w->is_read)) {
        pthread_mutex_lock(&w->lock);
        if (!atomic_load(&w->is_read)) rc = read_all(w, corpus, err);
        pthread_mutex_unlock(&w->lock);
    }
    if (rc >= 0) *out = w->map;
    return rc;
}
