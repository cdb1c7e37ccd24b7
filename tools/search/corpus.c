/* The corpus of midisim-search, the descriptions beside its parts, and the model that they ask for.
 * Contract: tools/search/corpus.h. */
#define _GNU_SOURCE
#include "corpus.h"
#include "common/fits/whitened.h"
#include "common/texts/spelling.h"
#include <stdio.h>
#include <string.h>

int ms_search_contradict(const ms_search_settings *set, const char *what, const char *where,
                         const char *expected, const char *got, msim_error *err) {
    if (!set->is_forced)
        return ms_fail(
            err, MSIM_E_ARG,
            "%s: %.200s: expected the corpus's %s, got %s (--force searches all the same)", what,
            where, expected, got);
    ms_cli_warning("%s: %s: the corpus has %s, the query gets %s", what, where, expected, got);
    return 0;
}

/* The corpus cannot be opened: for a file that is not there, what may have been meant. */
static int refuse_corpus(const ms_search_settings *set, int rc, const msim_error *why,
                         msim_error *err) {
    char near[300] = "";
    for (size_t i = 0; i < set->corpora.n && !*near; i++)
        ms_spelling_of_file(set->corpora.items[i], near, sizeof near);
    /* A file that this build cannot read is a failure, not wrong use. */
    return ms_fail(err, rc == -MSIM_E_UNSUPPORTED ? MSIM_E_FORMAT : -rc, "%s%s", why->text, near);
}

int ms_search_corpus_open(const ms_search_settings *set, ms_search_corpus *out, msim_error *err) {
    *out = (ms_search_corpus){.set = set, .info = {.size = sizeof out->info}};
    msim_error why;
    int rc = msim_corpus_open_many(set->corpora.items, set->corpora.n, set->names_file,
                                   &out->corpus, &why);
    if (rc < 0) return refuse_corpus(set, rc, &why, err);
    rc = msim_corpus_get_info(out->corpus, &out->info);
    if (rc < 0) return rc;
    if (out->info.rows <= 0)
        return ms_fail(err, MSIM_E_EMPTY, "nothing to search: %.300s: the corpus has no rows",
                       set->corpora.items[0]);
    return ms_made_read(out->corpus, set->is_forced ? MS_MADE_FORCED : MS_MADE_MAY_FORCE, &out->how,
                        err);
}

void ms_search_corpus_close(ms_search_corpus *c) {
    msim_corpus_close(c->corpus);
    msim_corpus_close(c->raw);
}

int ms_search_corpus_whiten(ms_search_corpus *c, bool may_write, msim_error *err) {
    const ms_search_settings *set = c->set;
    const msim_whitening *there;
    msim_corpus *whitened;
    msim_error why;
    ms_cli_whitened request = {.cache = set->cache,
                               .prior_fit = set->prior_fit,
                               .prior_rows = set->prior_rows,
                               .model_sha256 = c->how.is_described ? c->how.made.model_sha256 : "",
                               .threads = ms_cli_threads(&set->common),
                               .isa = ms_cli_library_options(&set->common).isa,
                               .may_write = may_write,
                               .ignores_descriptions = set->is_forced};
    if (!set->is_whitened) return 0;
    int rc = msim_corpus_whitening(c->corpus, &there, err);
    if (rc < 0) return rc;
    if (there) {
        if (may_write) ms_cli_note("%s is whitened already", set->corpora.items[0]);
        return 0;
    }
    rc = ms_cli_whitened_open(c->corpus, &request, &whitened, &why);
    /* too few rows are a failure, not a search without a result */
    if (rc < 0) return ms_fail(err, rc == -MSIM_E_EMPTY ? MSIM_E_FORMAT : -rc, "%s", why.text);
    c->raw = c->corpus;
    c->corpus = whitened;
    return msim_corpus_get_info(c->corpus, &c->info);
}

/* ---- Model ---- */

/* Take over what the description says where the command line is silent; compare where it is not. */
static int follow_description(const ms_search_corpus *c, ms_search_model *m, msim_error *err) {
    const ms_description *made = &c->how.made;
    const ms_search_settings *set = c->set;
    const char *where = set->corpora.items[0];
    char expected[128], got[128];
    int rc = 0;
    if (strcmp(made->model_sha256, m->info.sha256) != 0) {
        snprintf(expected, sizeof expected, "%s %.12s", made->family, made->model_sha256);
        snprintf(got, sizeof got, "%s %.12s", m->info.family, m->info.sha256);
        rc = ms_search_contradict(set, "another model", where, expected, got, err);
    }
    const bool unclean = m->info.is_unclean != 0;
    if (rc >= 0 && (made->token_order != m->info.token_order || made->is_unclean != unclean)) {
        ms_made_tokens(expected, sizeof expected, made->token_order, made->is_unclean);
        ms_made_tokens(got, sizeof got, m->info.token_order, unclean);
        rc = ms_search_contradict(set, "other tokens", where, expected, got, err);
    }
    bool is_given = ms_cli_given(&ms_search_tool, set, "pooling") ||
                    ms_cli_given(&ms_search_tool, set, "pool-weights");
    ms_made_pooling(expected, sizeof expected, made->is_weighted, made->pool_weights,
                    made->n_classes);
    ms_made_pooling(got, sizeof got, m->is_weighted, m->weights, m->info.n_classes);
    if (!is_given && made->is_weighted && made->n_classes != m->info.n_classes) {
        snprintf(got, sizeof got, "a model of %d classes of tokens", m->info.n_classes);
        return rc < 0 ? rc
                      : ms_search_contradict(set, "another pooling", where, expected, got, err);
    }
    if (!is_given) {
        m->is_weighted = made->is_weighted;
        memcpy(m->weights, made->pool_weights, sizeof m->weights);
    } else if (rc >= 0 && strcmp(expected, got) != 0) {
        rc = ms_search_contradict(set, "another pooling", where, expected, got, err);
    }
    int64_t limit = made->max_tokens;
    m->window_tokens = made->window_tokens;
    m->window_step = made->window_step;
    m->is_pooled = made->is_pooled;
    snprintf(expected, sizeof expected, "%lld", (long long)limit);
    snprintf(got, sizeof got, "%lld", (long long)m->max_tokens);
    if (!ms_cli_given(&ms_search_tool, set, "max-tokens"))
        m->max_tokens = limit;
    else if (rc >= 0 && limit != m->max_tokens && !made->window_tokens)
        rc = ms_search_contradict(set, "another token limit", where, expected, got, err);
    return rc;
}

/* What nobody describes may be published. */
static void follow_published(const ms_search_corpus *c, ms_search_model *m) {
    if (c->set->pooling >= 0 || ms_cli_given(&ms_search_tool, c->set, "pool-weights") ||
        !ms_made_published(&m->info, m->weights))
        return;
    m->is_weighted = true;
    const bool is_alike = m->info.token_order == MSIM_ORDER_TIME_FIRST && !m->info.is_unclean;
    ms_cli_note("the query is pooled with the weights 1,2,1,2 and its tokens are %s, %s: %s the "
                "published corpora of midisimx%s; --pooling, --token-order and --no-clean say "
                "otherwise",
                msim_token_order_name(m->info.token_order),
                m->info.is_unclean ? "of all instruments" : "cleaned",
                is_alike ? "so are" : "unlike", is_alike ? "" : ", which are time-first, cleaned");
}

/* How MIDI files become tokens: as the command line says, else as the corpus was made. */
static void choose_tokens(const ms_search_corpus *c, msim_options *o) {
    const ms_search_settings *set = c->set;
    const bool is_made = c->how.is_described && c->how.made.has_tokens;
    o->token_order = is_made && !ms_cli_given(&ms_search_tool, set, "token-order")
                         ? c->how.made.token_order
                         : set->token_order;
    o->is_unclean = is_made && !set->is_clean && !set->is_unclean ? c->how.made.is_unclean
                                                                  : set->is_unclean;
}

static int check_weights(const ms_search_settings *set, const ms_search_model *m, msim_error *err) {
    const int n = ms_cli_n_pool_weights(set->pool_weights,
                                        ms_cli_given(&ms_search_tool, set, "pool-weights"));
    if (n == 0 || n == m->info.n_classes) return 0;
    return ms_fail(err, MSIM_E_ARG, "--pool-weights: expected %d numbers for a model of %s, got %d",
                   m->info.n_classes, m->info.family, n);
}

/* MIDI files can become this model's tokens; found out before any work. */
static int check_family(const ms_search_model *m, msim_error *err) {
    msim_tokenizer *tokenizer;
    int rc = msim_tokenizer_open(m->model, &tokenizer, err);
    msim_tokenizer_close(tokenizer);
    return rc;
}

int ms_search_model_open(const ms_search_corpus *corpus, ms_search_model *out, msim_error *err) {
    const ms_search_settings *set = corpus->set;
    char path[4352];
    *out = (ms_search_model){.info = {.size = sizeof out->info}};
    int rc = ms_cli_model_path(&set->common, path, sizeof path, err);
    if (rc < 0) return rc;
    msim_options o = ms_cli_library_options(&set->common);
    choose_tokens(corpus, &o);
    rc = msim_model_open(path, &o, &out->model, err);
    if (rc >= 0) rc = check_family(out, err);
    out->info.size = sizeof out->info;
    if (rc >= 0) rc = msim_model_get_info(out->model, &out->info);
    if (rc >= 0) rc = check_weights(set, out, err);
    if (rc < 0) return rc;
    if (out->info.dim != corpus->info.dim)
        return ms_fail(err, MSIM_E_ARG,
                       "corpus and model do not fit: %.300s: expected rows of the model's "
                       "width %lld, got %lld",
                       set->corpora.items[0], (long long)out->info.dim,
                       (long long)corpus->info.dim);
    out->is_weighted = set->pooling == 1 ||
                       (set->pooling < 0 && ms_cli_given(&ms_search_tool, set, "pool-weights"));
    memcpy(out->weights, set->pool_weights, sizeof set->pool_weights);
    out->max_tokens = set->max_tokens;
    ms_made_say_undescribed(&corpus->how);
    if (corpus->how.is_described) return follow_description(corpus, out, err);
    follow_published(corpus, out);
    return 0;
}

void ms_search_model_close(ms_search_model *m) { msim_model_close(m->model); }
