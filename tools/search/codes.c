/* The codes of midisim-search's corpus: found beside each part or in --cache, checked, attached,
 * and written when --prepare or --cache asks for them. A search never depends on codes: without
 * them, or with some that do not fit, rows are read as they are. Contract:
 * tools/search/corpus.h. */
#define _GNU_SOURCE
#include "corpus.h"
#include "base/mem.h"
#include "common/corpus/quantised.h"
#include "common/fits/whitened.h"
#include "common/watch.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The codes of one part. */
typedef struct {
    const ms_search_corpus *c;
    const ms_search_settings *set;
    int64_t part;
    int codec;    /* msim_scan that wants them */
    char *beside; /* owned: PART.msim */
    char *cached; /* owned: in --cache, or NULL */
} codes_place;

static char *join(const char *a, const char *b, const char *c, msim_error *err) {
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    char *text = ms_alloc(n, 1, "path", err);
    if (text) snprintf(text, n, "%s%s%s", a, b, c);
    return text;
}

static int make_place(const ms_search_corpus *c, int64_t part, int codec, codes_place *out,
                      msim_error *err) {
    const char *path = msim_corpus_part_path(c->corpus, part), *cache = c->set->cache;
    *out = (codes_place){.c = c, .set = c->set, .part = part, .codec = codec};
    out->beside = join(path, ".msim", "", err);
    if (out->beside && cache) out->cached = ms_cli_cached_path(cache, path, ".msim", err);
    return out->beside && (out->cached || !cache) ? 0 : -err->code;
}

static void free_place(codes_place *p) {
    ms_free(p->beside);
    ms_free(p->cached);
}

/* ---- Attaching ---- */

static int attach(const codes_place *p, const char *path, bool is_full, msim_error *err) {
    return ms_quantised_attach(p->c->corpus, p->part, p->codec, path, is_full, err);
}

static int write_codes(const codes_place *p, const char *path, msim_error *err) {
    char count[32];
    struct stat st;
    double began = ms_cli_now();
    int rc = msim_corpus_write_codes(p->c->corpus, p->part, path, p->codec,
                                     ms_cli_threads(&p->set->common), ms_cli_count_progress,
                                     "rows quantised", err);
    ms_cli_progress_end();
    if (rc < 0) return rc;
    int64_t bytes = stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
    ms_cli_note("wrote %s: %s bytes in %.1f s", path, ms_cli_count(count, bytes),
                ms_cli_now() - began);
    return attach(p, path, p->set->verifies, err);
}

static void say_ignored(const codes_place *p, const char *why, bool *is_said) {
    ms_quantised_say_ignored(why, p->set->cache ? "" : " (--prepare writes them anew)", is_said);
}

/* ---- Parts ---- */

/* --prepare: codes that fit stay, anything else is replaced. */
static int prepare_part(const codes_place *p, msim_error *err) {
    const char *path = p->cached ? p->cached : p->beside;
    msim_error e = {0};
    int rc = attach(p, path, p->set->verifies, &e);
    if (rc == 1) {
        ms_cli_note("%s fits%s", path, p->set->verifies ? ": all of it compared" : "");
        return 0;
    }
    if (rc < 0) ms_cli_warning("%s: written anew", e.text);
    rc = write_codes(p, path, &e);
    if (rc >= 0) return 0;
    return ms_fail(err, -rc, "%.440s%s", e.text,
                   p->cached || rc != -MSIM_E_IO ? "" : " (--cache DIR puts them elsewhere)");
}

/* Without --prepare: in the cache, else beside the part, else into the cache. Failures only cost
 * time. */
static int use_part(const codes_place *p, bool may_write, bool *is_said, msim_error *err) {
    msim_error e = {0};
    int in_cache = p->cached ? attach(p, p->cached, false, &e) : 0;
    if (in_cache == 1) return 0;
    int is_beside = attach(p, p->beside, false, &e);
    if (is_beside < 0) say_ignored(p, e.text, is_said);
    if (is_beside == 1 || !p->cached || !may_write) return 0;
    int rc = write_codes(p, p->cached, &e);
    if (ms_cli_stopped()) return ms_fail(err, MSIM_E_STOPPED, "stopped");
    if (rc < 0) say_ignored(p, e.text, is_said);
    return 0;
}

/* Codes that were asked for by name must be there. */
static int check_codec(const ms_search_corpus *c, int codec, msim_error *err) {
    if (c->set->scan == MSIM_SCAN_AUTO) return 0;
    for (int64_t part = 0; part < c->info.parts; part++)
        if (msim_corpus_part_rows(c->corpus, part) > 0 &&
            !msim_corpus_has_codes(c->corpus, part, codec))
            return ms_fail(err, MSIM_E_ARG,
                           "--scan %s: %.300s: there are no such quantised rows (--prepare "
                           "writes them) (see %s --help)",
                           msim_scan_name(codec), msim_corpus_part_path(c->corpus, part),
                           ms_search_tool.name);
    return 0;
}

static int attach_part(const ms_search_corpus *c, int64_t part, int codec, bool may_write,
                       bool *is_said, msim_error *err) {
    codes_place p;
    int rc = make_place(c, part, codec, &p, err);
    if (rc >= 0)
        rc = c->set->prepares && may_write ? prepare_part(&p, err)
                                           : use_part(&p, may_write, is_said, err);
    free_place(&p);
    return rc;
}

int ms_search_codes_attach(const ms_search_corpus *c, bool may_write, msim_error *err) {
    const ms_search_settings *set = c->set;
    int codec = set->scan == MSIM_SCAN_BF16 ? MSIM_SCAN_BF16 : MSIM_SCAN_INT8, rc = 0;
    bool is_said = false;
    if (set->scan == MSIM_SCAN_F64 || set->scan == MSIM_SCAN_F32 || set->metric == MSIM_METRIC_IP)
        return 0;
    if (set->cache && mkdir(set->cache, 0777) != 0 && errno != EEXIST)
        return ms_fail(err, MSIM_E_IO, "cannot make the folder: %.300s: %s", set->cache,
                       strerror(errno));
    for (int64_t part = 0; part < c->info.parts && rc >= 0; part++)
        if (msim_corpus_part_rows(c->corpus, part) > 0)
            rc = attach_part(c, part, codec, may_write, &is_said, err);
    return rc < 0 ? rc : check_codec(c, codec, err);
}
