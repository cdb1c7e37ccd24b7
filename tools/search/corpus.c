/* The corpus of midisim-search, the descriptions beside its parts, and the model that they ask for.
 * Contract: tools/search/search.h. */
#define _GNU_SOURCE
#include "search.h"
#include <stdio.h>
#include <string.h>

int ms_search_contradict(const ms_search_job *j, const char *what, const char *where,
                         const char *expected, const char *got) {
    if (j->set->is_forced) {
        ms_cli_warning("%s: %s: the corpus has %s, the query gets %s", what, where, expected, got);
        return -1;
    }
    ms_cli_error("%s: %s: expected the corpus's %s, got %s (--force searches all the same)", what,
                 where, expected, got);
    return MS_EXIT_USAGE;
}

/* ---- Descriptions ---- */

static void describe_pooling(char *text, size_t cap, bool is_weighted, const float *weights) {
    if (is_weighted)
        snprintf(text, cap, "weighted %g,%g,%g", (double)weights[0], (double)weights[1],
                 (double)weights[2]);
    else
        snprintf(text, cap, "mean");
}

/* What decides whether vectors may be compared: model, pooling, limit. Level, precision and names
 * may differ. */
static bool parts_differ(const ms_description *a, const ms_description *b, char *expected,
                         char *got, size_t cap) {
    if (strcmp(a->model_sha256, b->model_sha256) != 0) {
        snprintf(expected, cap, "model %s %.12s", a->family, a->model_sha256);
        snprintf(got, cap, "%s %.12s", b->family, b->model_sha256);
    } else if (a->max_tokens != b->max_tokens) {
        snprintf(expected, cap, "token limit %lld", (long long)a->max_tokens);
        snprintf(got, cap, "%lld", (long long)b->max_tokens);
    } else if (a->is_normalized != b->is_normalized) {
        snprintf(expected, cap, "%snormalised rows", a->is_normalized ? "" : "un");
        snprintf(got, cap, "%snormalised ones", b->is_normalized ? "" : "un");
    } else if (a->transpose != b->transpose) {
        snprintf(expected, cap, "transposition %lld", (long long)a->transpose);
        snprintf(got, cap, "%lld", (long long)b->transpose);
    } else {
        char pooling[80];
        describe_pooling(pooling, sizeof pooling, a->is_weighted, a->pool_weights);
        describe_pooling(got, cap, b->is_weighted, b->pool_weights);
        if (strcmp(pooling, got) == 0) return false;
        snprintf(expected, cap, "pooling %s", pooling);
    }
    return true;
}

/* One part's description against those before it. */
static int read_description(ms_search_job *j, int64_t part) {
    const char *path = msim_corpus_part_path(j->corpus, part);
    char expected[160], got[160];
    ms_description made;
    msim_error e;
    int found = ms_description_read(path, &made, &e);
    if (found < 0) {
        if (j->set->is_forced)
            ms_cli_warning("%s", e.text);
        else
            ms_cli_error("%s (--force searches without it)", e.text);
        return j->set->is_forced ? -1 : MS_EXIT_FAILED;
    }
    if (found == 0) {
        if (j->n_undescribed++ == 0) j->undescribed = path;
        return -1;
    }
    int64_t rows = msim_corpus_part_first(j->corpus, part + 1) -
                   msim_corpus_part_first(j->corpus, part);
    if (made.rows != rows)
        ms_cli_warning("description of another corpus: %s.json: expected %lld rows, got %lld", path,
                       (long long)rows, (long long)made.rows);
    if (!j->is_described) {
        j->made = made;
        j->is_described = true;
        return -1;
    }
    if (!parts_differ(&j->made, &made, expected, got, sizeof got)) return -1;
    if (j->set->is_forced) {
        ms_cli_warning("parts of the corpus differ: %s: the first has %s, this one %s", path,
                       expected, got);
        return -1;
    }
    ms_cli_error("parts of the corpus differ: %s: expected %s as in the first, got %s (--force "
                 "searches all the same)",
                 path, expected, got);
    return MS_EXIT_USAGE;
}

int ms_search_open_corpus(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    msim_error e;
    int rc =
        msim_corpus_open_many(set->corpora.items, set->corpora.n, set->names_file, &j->corpus, &e);
    if (rc < 0) {
        ms_cli_error("%s", e.text);
        return rc == -MSIM_E_ARG ? MS_EXIT_USAGE : MS_EXIT_FAILED;
    }
    j->rows.size = sizeof j->rows;
    msim_corpus_get_info(j->corpus, &j->rows);
    if (j->rows.rows <= 0) {
        ms_cli_error("nothing to search: %s: expected at least one row, got none",
                     set->corpora.items[0]);
        return MS_EXIT_FAILED;
    }
    int status = -1;
    for (int64_t part = 0; part < msim_corpus_parts(j->corpus) && status < 0; part++)
        status = read_description(j, part);
    return status;
}

/* ---- Model ---- */

/* Take over what the description says where the command line is silent; compare where it is not. */
static int follow_description(ms_search_job *j) {
    const ms_description *made = &j->made;
    const ms_search_settings *set = j->set;
    const char *where = set->corpora.items[0];
    char expected[128], got[128];
    int rc = -1;
    if (strcmp(made->model_sha256, j->model_info.sha256) != 0) {
        snprintf(expected, sizeof expected, "%s %.12s", made->family, made->model_sha256);
        snprintf(got, sizeof got, "%s %.12s", j->model_info.family, j->model_info.sha256);
        rc = ms_search_contradict(j, "another model", where, expected, got);
    }
    bool is_given = ms_cli_given(&ms_search_tool, set, "pooling") ||
                    ms_cli_given(&ms_search_tool, set, "pool-weights");
    describe_pooling(expected, sizeof expected, made->is_weighted, made->pool_weights);
    describe_pooling(got, sizeof got, j->is_weighted, j->weights);
    if (!is_given) {
        j->is_weighted = made->is_weighted;
        memcpy(j->weights, made->pool_weights, sizeof j->weights);
    } else if (rc < 0 && strcmp(expected, got) != 0) {
        rc = ms_search_contradict(j, "another pooling", where, expected, got);
    }
    snprintf(expected, sizeof expected, "%lld", (long long)made->max_tokens);
    snprintf(got, sizeof got, "%lld", (long long)j->max_tokens);
    if (!ms_cli_given(&ms_search_tool, set, "max-tokens"))
        j->max_tokens = made->max_tokens;
    else if (rc < 0 && made->max_tokens != j->max_tokens)
        rc = ms_search_contradict(j, "another token limit", where, expected, got);
    return rc;
}

static void say_undescribed(const ms_search_job *j) {
    if (j->n_undescribed == 1)
        ms_cli_note("model of the corpus unknown: there is no %s.json", j->undescribed);
    else if (j->n_undescribed > 1)
        ms_cli_note(
            "model of the corpus unknown: there is no %s.json, nor one for %lld other parts",
            j->undescribed, (long long)(j->n_undescribed - 1));
}

int ms_search_open_model(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    char path[4352];
    msim_error e;
    if (!ms_cli_find_model(&set->common, path, sizeof path)) return MS_EXIT_FAILED;
    msim_options o = ms_cli_library_options(&set->common);
    int rc = msim_model_open(path, &o, &j->model, &e);
    if (rc >= 0) rc = msim_tokenizer_open(j->model, &j->tokenizer, &e);
    if (rc < 0) {
        ms_cli_error("%s", e.text);
        return ms_cli_exit_of(rc);
    }
    j->model_info.size = sizeof j->model_info;
    msim_model_get_info(j->model, &j->model_info);
    if (j->model_info.dim != j->rows.dim) {
        ms_cli_error(
            "corpus and model do not fit: %s: expected rows of the model's width %lld, got %lld",
            set->corpora.items[0], (long long)j->model_info.dim, (long long)j->rows.dim);
        return MS_EXIT_USAGE;
    }
    j->is_weighted = set->pooling == 1 ||
                     (set->pooling < 0 && ms_cli_given(&ms_search_tool, set, "pool-weights"));
    memcpy(j->weights, set->weights, sizeof j->weights);
    j->max_tokens = set->max_tokens;
    say_undescribed(j);
    return j->is_described ? follow_description(j) : -1;
}
