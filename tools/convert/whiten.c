/* midisim-convert: --whiten and --fit-only. Contract: tools/convert/convert.h;
 * docs/WHITENING.md. */
#define _GNU_SOURCE
#include "common/fits/fit.h"
#include "common/fits/prior.h"
#include "common/watch.h"
#include "convert.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    const ms_convert_settings *s;
    msim_corpus *corpus;  /* owned */
    msim_corpus *altered; /* owned; NULL: no altered copies were given */
    msim_corpus_info info;
    ms_description made;       /* of the first part; without a model if there is none */
    msim_whitening *prior, *w; /* owned */
} whiten_run;

/* The description of one part against those before it: rows of one model alone have one map. */
static int read_description(whiten_run *r, int64_t part, msim_error *err) {
    ms_description one;
    msim_error why;
    int rc = ms_convert_description(r->corpus, part, &one, &why);
    if (rc < 0 && rc != -MSIM_E_MEMORY && r->s->is_forced) {
        ms_cli_warning("%s", why.text);
        return 0;
    }
    if (rc < 0) return ms_fail(err, -rc, "%s", why.text);
    if (rc == 0) return 0;
    if (!*r->made.model_sha256) r->made = one;
    if (strcmp(r->made.model_sha256, one.model_sha256) == 0) return 0;
    return ms_fail(err, MSIM_E_ARG,
                   "corpora of different models: %.300s: expected %.12s, got %.12s",
                   msim_corpus_part_path(r->corpus, part), r->made.model_sha256, one.model_sha256);
}

static int open_corpus(whiten_run *r, const ms_cli_texts *inputs, msim_error *err) {
    r->info.size = sizeof r->info;
    int rc = msim_corpus_open_many(inputs->items, inputs->n, r->s->names_file, &r->corpus, err);
    if (rc >= 0) rc = msim_corpus_get_info(r->corpus, &r->info);
    for (int64_t i = 0; rc >= 0 && i < r->info.parts; i++) rc = read_description(r, i, err);
    const ms_cli_texts *altered = &r->s->altered;
    if (rc >= 0 && altered->n)
        rc = msim_corpus_open_many(altered->items, altered->n, NULL, &r->altered, err);
    return rc;
}

static void say_fit(const msim_whitening *w) {
    msim_whitening_info i = {.size = sizeof i};
    char rows[32], distinct[32], prior[32], altered[32], with[80] = "", copies[80] = "";
    if (msim_whitening_get_info(w, &i) < 0) return;
    if (i.prior_rows)
        snprintf(with, sizeof with, ", and %s rows of another fit",
                 ms_cli_count(prior, i.prior_rows));
    if (i.altered)
        snprintf(copies, sizeof copies, ", and %s altered copies",
                 ms_cli_count(altered, i.altered));
    ms_cli_note("fit of %s rows, %s with content of their own%s%s; %s", ms_cli_count(rows, i.rows),
                ms_cli_count(distinct, i.distinct), with, copies,
                i.pairs ? "chances are known" : "too few pieces for chances");
}

static int fit(whiten_run *r, msim_error *err) {
    const ms_convert_settings *s = r->s;
    msim_whitening_options o = msim_whitening_options_default();
    int rc = ms_cli_prior_open(s->prior_fit, r->made.model_sha256, r->info.dim, &r->prior, err);
    if (rc < 0) return rc;
    o.prior = r->prior;
    o.prior_rows = s->prior_rows;
    o.altered = r->altered;
    o.nuisance_weight = s->nuisance_weight;
    o.model_sha256 = *r->made.model_sha256 ? r->made.model_sha256 : NULL;
    rc = ms_cli_fit(r->corpus, &o, &r->w, err);
    if (rc >= 0) say_fit(r->w);
    return rc == -MSIM_E_ARG ? -MSIM_E_FORMAT : rc; /* a failure, not wrong use */
}

static int write_rows(whiten_run *r, const char *out, msim_error *err) {
    char rows[32];
    double began = ms_cli_now();
    msim_whitened_options o = {.size = sizeof o,
                               .refuses_nonfinite = !r->s->keeps_nonfinite,
                               .ignores_description = r->s->is_forced,
                               .progress = ms_cli_count_progress,
                               .user = "rows"};
    int rc = msim_corpus_write_whitened(r->corpus, 0, r->w, out, &o, err);
    ms_cli_progress_end();
    if (rc >= 0)
        ms_cli_note("%s: %s whitened rows of %lld, %.1f s", out, ms_cli_count(rows, r->info.rows),
                    (long long)r->info.dim, ms_cli_now() - began);
    return rc;
}

static int run(whiten_run *r, const ms_cli_texts *inputs, const char *out, msim_error *err) {
    const ms_convert_settings *s = r->s;
    int rc = open_corpus(r, inputs, err);
    if (rc >= 0 && s->is_whitened && r->info.parts != 1)
        return ms_fail(err, MSIM_E_ARG,
                       "--whiten takes one file, not %lld: join them first, with --form or --merge",
                       (long long)r->info.parts);
    if (rc >= 0 && s->whiten_fit) rc = msim_whitening_open(s->whiten_fit, &r->w, err);
    if (rc >= 0 && !s->whiten_fit) rc = fit(r, err);
    if (rc < 0) return rc;
    return s->is_whitened ? write_rows(r, out, err) : msim_whitening_save(r->w, out, err);
}

int ms_convert_whiten(const ms_convert_settings *s, const ms_cli_texts *inputs, const char *out) {
    whiten_run r = {.s = s};
    msim_error err = {0};
    int rc = run(&r, inputs, out, &err);
    if (rc < 0 && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    msim_whitening_close(r.w);
    msim_whitening_close(r.prior);
    msim_corpus_close(r.altered);
    msim_corpus_close(r.corpus);
    return rc == -MSIM_E_ARG ? rc : ms_cli_as_failure(rc);
}
