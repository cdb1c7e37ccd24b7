/* Contract: tools/common/fits/whitened.h. A file of whitened rows has a key in its description: a
 * hash of everything that the rows in it follow from. A file with another key is written anew. */
#define _GNU_SOURCE
#include "common/fits/whitened.h"
#include "base/file.h"
#include "base/hash/digest.h"
#include "base/hash/fnv.h"
#include "base/mem.h"
#include "common/fits/fit.h"
#include "common/fits/prior.h"
#include "common/watch.h"
#include "pipeline/disk/description.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ENDING \
    ".whitened" /* no ending of a corpus: a folder of corpora does not have it as a part */
enum { KEY_CHARS = 2 * MS_SHA256_BYTES };

typedef struct {
    char *path;              /* owned */
    char key[KEY_CHARS + 1]; /* that the file must have */
    int64_t part;
    bool is_there;
} whitened_part;

typedef struct {
    const msim_corpus *raw;
    const ms_cli_whitened *request;
    msim_whitening *prior; /* owned; NULL: none */
    whitened_part *parts;  /* owned: [n], those with rows */
    size_t n;
} whitened_files;

char *ms_cli_cached_path(const char *folder, const char *file, const char *ending,
                         msim_error *err) {
    enum { MAX_BASE = 200 };
    char *path = realpath(file, NULL);
    if (!path) { /* under another name it would not be found again */
        ms_fail_errno(err, errno, "cannot find the absolute path: %s", file);
        return NULL;
    }
    const char *base = strrchr(path, '/') + 1;
    uint64_t hash = ms_fnv1a(path, strlen(path));
    size_t cap = strlen(folder) + strlen(ending) + MAX_BASE + 24;
    char *whole = ms_alloc(cap, 1, "path", err);
    if (whole)
        snprintf(whole, cap, "%s/%016llx-%.*s%s", folder, (unsigned long long)hash, MAX_BASE, base,
                 ending);
    free(path);
    return whole;
}

/* ---- Keys ---- */

/* What the map follows from: all rows, the prior, the constants. Size and time of a file are in it
 * because the fingerprint of a large one is of a sample. */
static int digest_inputs(const whitened_files *f, ms_digest *digest, msim_error *err) {
    msim_whitening_info prior = {.size = sizeof prior};
    char text[256], fingerprint[MSIM_FINGERPRINT_CHARS + 1];
    struct stat st;
    if (f->prior && msim_whitening_get_info(f->prior, &prior) < 0) *prior.hash = 0;
    int n = snprintf(text, sizeof text, "3 %.17g %.17g %s %lld %lld %lld\n", MSIM_WHITENING_SHRINK,
                     MSIM_WHITENING_NUISANCE, prior.hash, (long long)prior.distinct,
                     (long long)prior.prior_rows, (long long)f->request->prior_rows);
    ms_digest_begin(digest, MS_DIGEST_SHA256);
    ms_digest_add(digest, text, (size_t)n);
    for (int64_t i = 0; i < msim_corpus_parts(f->raw); i++) {
        const char *path = msim_corpus_part_path(f->raw, i);
        int rc = msim_corpus_fingerprint(f->raw, i, fingerprint, err);
        if (rc < 0) return rc;
        if (stat(path, &st) != 0) return ms_fail_errno(err, errno, "cannot examine: %s", path);
        n = snprintf(text, sizeof text, "%s %lld %lld %ld\n", fingerprint, (long long)st.st_size,
                     (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        ms_digest_add(digest, text, (size_t)n);
    }
    return 0;
}

static int make_keys(whitened_files *f, msim_error *err) {
    ms_digest all;
    int rc = digest_inputs(f, &all, err);
    for (size_t i = 0; i < f->n && rc >= 0; i++) {
        ms_digest one = all;
        unsigned char bytes[MS_SHA256_BYTES];
        char text[32];
        int n = snprintf(text, sizeof text, "part %lld\n", (long long)f->parts[i].part);
        ms_digest_add(&one, text, (size_t)n);
        rc = ms_digest_end(&one, bytes, err);
        if (rc >= 0) ms_digest_put_hex(bytes, sizeof bytes, f->parts[i].key);
    }
    return rc;
}

/* ---- Files ---- */

static int name_files(whitened_files *f, msim_error *err) {
    int64_t n = msim_corpus_parts(f->raw);
    f->parts = ms_alloc((size_t)n, sizeof *f->parts, "whitened parts", err);
    if (!f->parts) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        const char *part = msim_corpus_part_path(f->raw, i);
        if (msim_corpus_part_rows(f->raw, i) == 0) continue;
        whitened_part *p = f->parts + f->n++;
        p->part = i;
        p->path = f->request->cache ? ms_cli_cached_path(f->request->cache, part, ENDING, err)
                                    : ms_file_beside(part, ENDING, err);
        if (!p->path) return -err->code;
    }
    return 0;
}

/* A file is there when its description has the key, and the rows are those of the description. */
static bool is_there(const whitened_part *p) {
    char key[KEY_CHARS + 1];
    const msim_whitening *w;
    msim_corpus *corpus;
    msim_error why;
    if (ms_description_read_key(p->path, key, sizeof key, &why) < 0 || strcmp(key, p->key) != 0)
        return false;
    if (msim_corpus_open(p->path, NULL, &corpus, &why) < 0) return false;
    bool is_good = msim_corpus_whitening(corpus, &w, &why) >= 0 && w;
    msim_corpus_close(corpus);
    return is_good;
}

static bool find_files(whitened_files *f) {
    bool are_all = true;
    for (size_t i = 0; i < f->n; i++) are_all &= (f->parts[i].is_there = is_there(f->parts + i));
    return are_all;
}

/* ---- Writing ---- */

static int fit(const whitened_files *f, msim_whitening **out, msim_error *err) {
    msim_whitening_options o = msim_whitening_options_default();
    o.prior = f->prior;
    o.prior_rows = f->request->prior_rows;
    o.model_sha256 = *f->request->model_sha256 ? f->request->model_sha256 : NULL;
    o.threads = f->request->threads;
    o.isa = f->request->isa;
    return ms_cli_fit(f->raw, &o, out, err);
}

static int write_file(const whitened_files *f, const whitened_part *p, const msim_whitening *w,
                      msim_error *err) {
    char count[32];
    struct stat st;
    msim_error why;
    double began = ms_cli_now();
    msim_whitened_options o = {.size = sizeof o,
                               .key = p->key,
                               .ignores_description = f->request->ignores_descriptions,
                               .threads = f->request->threads,
                               .progress = ms_cli_count_progress,
                               .user = "rows whitened"};
    int rc = msim_corpus_write_whitened(f->raw, p->part, w, p->path, &o, &why);
    ms_cli_progress_end();
    if (rc < 0)
        return ms_fail(err, -rc, "%.420s%s", why.text,
                       f->request->cache || rc != -MSIM_E_IO ? ""
                                                             : " (--cache DIR puts it elsewhere)");
    ms_cli_note("wrote %s: whitened rows, %s bytes in %.1f s", p->path,
                ms_cli_count(count, stat(p->path, &st) == 0 ? (int64_t)st.st_size : 0),
                ms_cli_now() - began);
    return 0;
}

static int write_files(whitened_files *f, msim_error *err) {
    const char *cache = f->request->cache;
    msim_whitening *w = NULL;
    if (cache && mkdir(cache, 0777) != 0 && errno != EEXIST)
        return ms_fail(err, MSIM_E_IO, "cannot make the folder: %.300s: %s", cache,
                       strerror(errno));
    int rc = fit(f, &w, err);
    for (size_t i = 0; i < f->n && rc >= 0; i++)
        if (!f->parts[i].is_there) rc = write_file(f, f->parts + i, w, err);
    msim_whitening_close(w);
    return rc;
}

/* ---- All of it ---- */

static int open_files(const whitened_files *f, msim_corpus **out, msim_error *err) {
    const char **paths = ms_alloc(f->n, sizeof *paths, "whitened parts", err);
    if (!paths) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < f->n; i++) paths[i] = f->parts[i].path;
    int rc = msim_corpus_open_many(paths, f->n, NULL, out, err);
    ms_free(paths);
    return rc;
}

int ms_cli_whitened_open(const msim_corpus *raw, const ms_cli_whitened *request, msim_corpus **out,
                         msim_error *err) {
    whitened_files f = {.raw = raw, .request = request};
    msim_corpus_info info = {.size = sizeof info};
    *out = NULL;
    int rc = msim_corpus_get_info(raw, &info);
    if (rc >= 0)
        rc = ms_cli_prior_open(request->prior_fit, request->model_sha256, info.dim, &f.prior, err);
    if (rc >= 0) rc = name_files(&f, err);
    if (rc >= 0) rc = make_keys(&f, err);
    if (rc >= 0 && !find_files(&f))
        rc = request->may_write ? write_files(&f, err)
                                : ms_fail(err, MSIM_E_IO, "whitened rows not found: %.300s",
                                          f.n ? f.parts[0].path : "");
    if (rc >= 0) rc = open_files(&f, out, err);
    for (size_t i = 0; i < f.n; i++) ms_free(f.parts[i].path);
    ms_free(f.parts);
    msim_whitening_close(f.prior);
    return rc;
}
