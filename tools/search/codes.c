/* The small copies of midisim-search's corpus: found beside each part or in --cache, checked,
 * attached, and written when --prepare or --cache asks for it. A search never depends on them:
 * without one, or with one that does not fit, rows are read as they are. Contract:
 * tools/search/search.h. */
#define _GNU_SOURCE
#include "search.h"
#include "base/fnv.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One part's copy. */
typedef struct {
    ms_search_job *j;
    int64_t part;
    int form;     /* msim_scan that is wanted of it */
    char *beside; /* owned: PART.msim */
    char *cached; /* owned: in --cache, or NULL */
} place;

static char *join(const char *a, const char *b, const char *c) {
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    char *text = ms_cli_alloc(n, 1);
    snprintf(text, n, "%s%s%s", a, b, c);
    return text;
}

/* DIR/<hash of the absolute path>-<base name>.msim: corpora of one name in different places stay
 * apart. */
static char *cached_path(const char *folder, const char *part) {
    enum { MAX_BASE = 200 };
    char *real = realpath(part, NULL), name[MAX_BASE + 24];
    const char *path = real ? real : part, *slash = strrchr(path, '/'),
               *base = slash ? slash + 1 : path;
    uint64_t hash = ms_fnv1a(path, strlen(path));
    snprintf(name, sizeof name, "/%016llx-%.*s", (unsigned long long)hash, MAX_BASE, base);
    char *whole = join(folder, name, ".msim");
    free(real);
    return whole;
}

static void free_place(place *p) {
    free(p->beside);
    free(p->cached);
}

/* ---- Attaching ---- */

/* 1: attached and of the wanted form; 0: there is none, or not that form; < 0: it is there and does
 * not fit. */
static int attach(const place *p, const char *path, bool is_full, msim_error *err) {
    struct stat st;
    if (lstat(path, &st) != 0) return 0;
    int rc = msim_corpus_attach_codes(p->j->corpus, p->part, path, is_full, err);
    return rc < 0 ? rc : msim_corpus_has_codes(p->j->corpus, p->part, p->form);
}

static int show_progress(void *user, int64_t done, int64_t all) {
    (void)user;
    ms_cli_progress("rows copied", done, all);
    return ms_cli_stopped();
}

static int write_copy(const place *p, const char *path, msim_error *err) {
    char count[32];
    struct stat st;
    double began = ms_cli_now();
    int rc = msim_corpus_write_codes(p->j->corpus, p->part, path, p->form,
                                     ms_cli_threads(&p->j->set->common), show_progress, NULL, err);
    ms_cli_progress_end();
    if (rc < 0) return rc;
    int64_t bytes = stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
    ms_cli_note("wrote %s: %s bytes in %.1f s", path, ms_cli_count(count, bytes),
                ms_cli_now() - began);
    return attach(p, path, p->j->set->verifies, err);
}

/* A copy that lies there and does not fit; said once, whatever the number of parts. */
static void say_ignored(const ms_search_job *j, const char *why, bool *is_said) {
    if (!*is_said)
        ms_cli_warning("small copy not used: %s%s", why,
                       j->set->cache ? "" : " (--prepare writes it anew)");
    *is_said = true;
}

/* ---- Parts ---- */

/* --prepare: a copy that fits stays, anything else is replaced. */
static int prepare_part(const place *p) {
    const char *path = p->cached ? p->cached : p->beside;
    msim_error e = {0};
    int rc = attach(p, path, p->j->set->verifies, &e);
    if (rc == 1) {
        ms_cli_note("%s fits%s", path, p->j->set->verifies ? ": all of it compared" : "");
        return -1;
    }
    if (rc < 0) ms_cli_warning("%s: written anew", e.text);
    rc = write_copy(p, path, &e);
    if (rc >= 0) return -1;
    if (!ms_cli_stopped())
        ms_cli_error("%s%s", e.text,
                     p->cached || rc != -MSIM_E_IO ? "" : " (--cache DIR puts it elsewhere)");
    return ms_cli_exit_of(rc);
}

/* Without --prepare: in the cache, else beside the part, else into the cache. Failures only cost
 * time. */
static int use_part(const place *p, bool *is_said) {
    msim_error e = {0};
    int in_cache = p->cached ? attach(p, p->cached, false, &e) : 0;
    if (in_cache == 1) return -1;
    int is_beside = attach(p, p->beside, false, &e);
    if (is_beside < 0) say_ignored(p->j, e.text, is_said);
    if (is_beside == 1 || !p->cached) return -1;
    if (write_copy(p, p->cached, &e) < 0 && !ms_cli_stopped()) say_ignored(p->j, e.text, is_said);
    return ms_cli_stopped() ? MS_EXIT_FAILED : -1;
}

/* A form that was asked for by name must be there. */
static int check_form(const ms_search_job *j, int form) {
    if (j->set->scan == MSIM_SCAN_AUTO) return -1;
    for (int64_t part = 0; part < msim_corpus_parts(j->corpus); part++) {
        int64_t rows = msim_corpus_part_first(j->corpus, part + 1) -
                       msim_corpus_part_first(j->corpus, part);
        if (rows > 0 && !msim_corpus_has_codes(j->corpus, part, form))
            return ms_cli_usage(
                "--scan %s: %s: expected a small copy of that form, got none (--prepare writes it)",
                msim_scan_name(form), msim_corpus_part_path(j->corpus, part));
    }
    return -1;
}

int ms_search_attach_codes(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    int form = set->scan == MSIM_SCAN_BF16 ? MSIM_SCAN_BF16 : MSIM_SCAN_INT8, status = -1;
    bool is_said = false;
    if (set->scan == MSIM_SCAN_F64 || set->scan == MSIM_SCAN_F32 || set->metric == MSIM_METRIC_IP)
        return -1;
    if (set->cache && mkdir(set->cache, 0777) != 0 && errno != EEXIST) {
        ms_cli_error("cannot make the folder: %s: %s", set->cache, strerror(errno));
        return MS_EXIT_FAILED;
    }
    for (int64_t part = 0; part < msim_corpus_parts(j->corpus) && status < 0; part++) {
        const char *path = msim_corpus_part_path(j->corpus, part);
        if (msim_corpus_part_first(j->corpus, part + 1) == msim_corpus_part_first(j->corpus, part))
            continue;
        place p = {.j = j,
                   .part = part,
                   .form = form,
                   .beside = join(path, ".msim", ""),
                   .cached = set->cache ? cached_path(set->cache, path) : NULL};
        status = set->prepares ? prepare_part(&p) : use_part(&p, &is_said);
        free_place(&p);
    }
    return status < 0 ? check_form(j, form) : status;
}
