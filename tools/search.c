/* midisim-search: the rows of a corpus that are nearest to a piece. Reads a MIDI file, embeds its transposed variants,
 * searches them exactly and prints the best variant of each row. Queries are searched in groups, so that the corpus is
 * passed once for several of them; results come in the order of the arguments. docs/SEARCH.md. */
#define _GNU_SOURCE
#include "cli.h"
#include "files.h"
#include "results.h"
#include "sidecar.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_VARIANTS = 12, GROUP_VECTORS = 60, BATCH_TOKENS = 16384, DEFAULT_TOKENS = 3072 };

typedef struct {
    ms_cli_common common;
    const char *corpus, *names_file;
    int64_t k, transpose, max_tokens;
    int pooling, format;
    float weights[3];
    bool is_json, is_forced;
} settings;

static const ms_cli_option options[] = {
    {.name = "corpus", .letter = 'c', .kind = MS_CLI_TEXT, .value = "CORPUS",
     .help = "rows to search: a .npy file, with names (as midisim-embed writes it) or plain",
     .offset = offsetof(settings, corpus)},
    {.name = "names-file", .kind = MS_CLI_TEXT, .value = "FILE",
     .help = "names of the rows of a plain .npy, one a line (default: rows are named by their number, from 0)",
     .offset = offsetof(settings, names_file)},
    {.name = "top", .letter = 'k', .kind = MS_CLI_INT, .value = "K", .min = 1, .max = 10000,
     .help = "matches of each query, 1..10000 (default 16)", .offset = offsetof(settings, k)},
    {.name = "transpose", .kind = MS_CLI_INT, .value = "N", .min = 0, .max = 6,
     .help = "search the query moved by -N..N-1 semitones, 0..6, and let the best count (default 6; 0: as it is)",
     .offset = offsetof(settings, transpose)},
    {.name = "pooling", .kind = MS_CLI_CHOICE, .value = "mean|weighted", .choices = "mean|weighted",
     .help = "how token vectors become one (default: as the corpus was made, else mean)",
     .offset = offsetof(settings, pooling)},
    {.name = "pool-weights", .kind = MS_CLI_REALS, .value = "ON,DUR,PITCH", .max = 3,
     .help = "weights of start-time, duration and pitch tokens (default 1,1,1; only with --pooling weighted)",
     .offset = offsetof(settings, weights)},
    {.name = "max-tokens", .kind = MS_CLI_INT, .value = "N", .min = 0, .max = INT64_C(1) << 30,
     .help = "use the first N tokens of the query (default: as the corpus was made, else 3072; 0: all)",
     .offset = offsetof(settings, max_tokens)},
    {.name = "format", .kind = MS_CLI_CHOICE, .value = "FORMAT", .choices = "table|tsv|json|midisim",
     .help = "table, tsv, json (one object a query) or midisim (the original's listing, with K matches a variant); "
             "default table on a terminal, else tsv",
     .offset = offsetof(settings, format)},
    {.name = "json", .kind = MS_CLI_FLAG, .help = "the same as --format json", .offset = offsetof(settings, is_json)},
    {.name = "force", .kind = MS_CLI_FLAG,
     .help = "search although the corpus was made with another model or other settings",
     .offset = offsetof(settings, is_forced)},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-search -c corpus.npy song.mid", "the 16 pieces nearest to song.mid, in any of 12 keys"},
    {"midisim-search -c corpus.npy -k 5 --json a.mid b.mid | jq '.matches[0].name'", "the best match of each, as JSON"},
    {"curl -s ADDRESS | midisim-search -c corpus.npy --transpose 0 -", "a piece from a pipe, in its own key"},
    {NULL, NULL}};

static const ms_cli_tool tool = {
    .name = "midisim-search",
    .summary = "find the MIDI files of a corpus that are most like a piece",
    .usage = "[-m MODEL] -c CORPUS [-k 16] [options] QUERY...",
    .description = "QUERY is a MIDI file, also gzip-compressed, or - for MIDI bytes on standard input. It is embedded "
                   "in transposed variants, and for each row of CORPUS the best variant counts. The search is exact: "
                   "scores are cosines, evaluated in double precision in one fixed order, and the same vectors give "
                   "the same answer on every machine, level and thread count.\n\n"
                   "CORPUS.npy.json, where it exists, says with which model and settings the corpus was made: the "
                   "query is treated alike, and another model is refused. TSV columns: query, rank (from 1), score "
                   "(the cosine), transpose (semitones of the best variant), row (from 0) and name, in which tab, "
                   "newline and backslash are written \\t, \\n and \\\\.",
    .examples = examples,
    .options = options,
    .uses_model = true,
};

/* One run. The vectors of a group of queries lie one behind the other, n_variants each. */
typedef struct {
    const settings *set;
    msim_corpus *corpus;       /* owned */
    msim_model *model;         /* owned */
    msim_tokenizer *tokenizer; /* owned */
    msim_context *context;     /* owned; NULL until the first query */
    msim_corpus_info rows;
    msim_info model_info;
    bool is_weighted;          /* the pooling in force, and its weights and limit */
    float weights[3];
    int64_t max_tokens;        /* 0: none */
    int64_t k, batch_tokens;
    size_t n_variants, group_cap, n_group;
    const char *group[GROUP_VECTORS]; /* borrowed: what each query is called */
    float *vectors;            /* owned: [group_cap * n_variants, dim] */
    int64_t *hit_rows;         /* owned: [group_cap * n_variants, k] */
    double *hit_scores;        /* owned: as hit_rows */
    ms_results_match *matches; /* owned: [n_variants * k] */
    ms_files_buffer buffer;
    int32_t *ids;              /* owned: [ids_cap] */
    size_t ids_cap;
    ms_files_skips *skips;     /* owned */
    ms_results_out out;
    int64_t n_searched, n_cut;
    double embed_seconds, search_seconds;
} job;

/* ---- Preparing ---- */

static int check_usage(settings *set) {
    if (!set->corpus) return ms_cli_usage("no corpus: expected -c CORPUS");
    if (set->common.operands.n == 0) return ms_cli_usage("no query: expected a MIDI file, or - for standard input");
    if (set->is_json) {
        if (set->format >= 0 && set->format != MS_RESULTS_JSON)
            return ms_cli_usage("--json: expected no other --format beside it");
        set->format = MS_RESULTS_JSON;
    }
    if (set->format < 0) set->format = isatty(STDOUT_FILENO) ? MS_RESULTS_TABLE : MS_RESULTS_TSV;
    if (ms_cli_given(&tool, set, "pool-weights") && ms_cli_given(&tool, set, "pooling") && set->pooling != 1)
        return ms_cli_usage("--pool-weights: expected --pooling weighted, got mean");
    return -1;
}

static int open_corpus(job *j) {
    msim_error e;
    int rc = msim_corpus_open(j->set->corpus, j->set->names_file, &j->corpus, &e);
    if (rc < 0) {
        ms_cli_error("%s", e.text);
        return rc == -MSIM_E_ARG ? MS_EXIT_USAGE : MS_EXIT_FAILED;
    }
    msim_corpus_get_info(j->corpus, &j->rows);
    if (j->rows.rows > 0) return -1;
    ms_cli_error("nothing to search: %s: expected at least one row, got none", j->set->corpus);
    return MS_EXIT_FAILED;
}

static int open_model(job *j) {
    char path[4352];
    msim_error e;
    if (!ms_cli_find_model(&j->set->common, path, sizeof path)) return MS_EXIT_FAILED;
    msim_options o = ms_cli_library_options(&j->set->common);
    int rc = msim_model_open(path, &o, &j->model, &e);
    if (rc >= 0) rc = msim_tokenizer_open(&j->tokenizer, &e);
    if (rc < 0) {
        ms_cli_error("%s", e.text);
        return ms_cli_exit_of(rc);
    }
    msim_model_info(j->model, &j->model_info);
    if (j->model_info.dim == j->rows.dim) return -1;
    ms_cli_error("corpus and model do not fit: %s: expected rows of the model's width %lld, got %lld", j->set->corpus,
                 (long long)j->model_info.dim, (long long)j->rows.dim);
    return MS_EXIT_USAGE;
}

/* Something about the corpus contradicts the request: an error, or with --force a warning. Returns -1 to go on. */
static int contradict(const job *j, const char *what, const char *expected, const char *got) {
    if (j->set->is_forced) {
        ms_cli_warning("%s: %s: the corpus has %s, the query gets %s", what, j->set->corpus, expected, got);
        return -1;
    }
    ms_cli_error("%s: %s: expected the corpus's %s, got %s (--force searches all the same)", what, j->set->corpus,
                 expected, got);
    return MS_EXIT_USAGE;
}

static void describe_pooling(char *text, size_t cap, bool is_weighted, const float *weights) {
    if (is_weighted)
        snprintf(text, cap, "weighted %g,%g,%g", (double)weights[0], (double)weights[1], (double)weights[2]);
    else
        snprintf(text, cap, "mean");
}

/* Take over what the description says where the command line is silent; compare where it is not. */
static int follow_description(job *j, const ms_sidecar *made) {
    char expected[128], got[128];
    int rc = -1;
    if (strcmp(made->model_sha256, j->model_info.sha256) != 0) {
        snprintf(expected, sizeof expected, "%s %.12s", made->family, made->model_sha256);
        snprintf(got, sizeof got, "%s %.12s", j->model_info.family, j->model_info.sha256);
        rc = contradict(j, "another model", expected, got);
    }
    bool is_given = ms_cli_given(&tool, j->set, "pooling") || ms_cli_given(&tool, j->set, "pool-weights");
    describe_pooling(expected, sizeof expected, made->is_weighted, made->pool_weights);
    describe_pooling(got, sizeof got, j->is_weighted, j->weights);
    if (!is_given) {
        j->is_weighted = made->is_weighted;
        memcpy(j->weights, made->pool_weights, sizeof j->weights);
    } else if (rc < 0 && strcmp(expected, got) != 0) {
        rc = contradict(j, "another pooling", expected, got);
    }
    snprintf(expected, sizeof expected, "%lld", (long long)made->max_tokens);
    snprintf(got, sizeof got, "%lld", (long long)j->max_tokens);
    if (!ms_cli_given(&tool, j->set, "max-tokens"))
        j->max_tokens = made->max_tokens;
    else if (rc < 0 && made->max_tokens != j->max_tokens)
        rc = contradict(j, "another token limit", expected, got);
    if (rc < 0 && made->rows != j->rows.rows)
        ms_cli_warning("description of another corpus: %s.json: expected %lld rows, got %lld", j->set->corpus,
                       (long long)j->rows.rows, (long long)made->rows);
    return rc;
}

static int apply_settings(job *j) {
    const settings *set = j->set;
    ms_sidecar made;
    msim_error e;
    j->is_weighted = set->pooling == 1 || (set->pooling < 0 && ms_cli_given(&tool, set, "pool-weights"));
    memcpy(j->weights, set->weights, sizeof j->weights);
    j->max_tokens = set->max_tokens;
    int found = ms_sidecar_read(set->corpus, &made, &e);
    if (found > 0) return follow_description(j, &made);
    if (found == 0)
        ms_cli_note("model of the corpus unknown: there is no %s.json", set->corpus);
    else if (set->is_forced)
        ms_cli_warning("%s", e.text);
    else
        ms_cli_error("%s (--force searches without it)", e.text);
    return found < 0 && !set->is_forced ? MS_EXIT_FAILED : -1;
}

/* Width to cut names to: COLUMNS where it is set, else the terminal's; 0: no cutting. */
static int table_columns(void) {
    const char *text = getenv("COLUMNS");
    int64_t columns;
    return text && ms_cli_int(text, 1, 100000, &columns) ? (int)columns : ms_cli_columns(STDOUT_FILENO);
}

static void make_room(job *j, size_t n_queries) {
    j->n_variants = (size_t)msim_tokenizer_variants((int)j->set->transpose);
    j->group_cap = GROUP_VECTORS / j->n_variants;
    if (j->group_cap > n_queries && n_queries > 0) j->group_cap = n_queries;
    j->k = j->set->k < j->rows.rows ? j->set->k : j->rows.rows;
    size_t n_vectors = j->group_cap * j->n_variants;
    j->vectors = ms_cli_alloc(n_vectors * (size_t)j->rows.dim, sizeof *j->vectors);
    j->hit_rows = ms_cli_alloc(n_vectors * (size_t)j->k, sizeof *j->hit_rows);
    j->hit_scores = ms_cli_alloc(n_vectors * (size_t)j->k, sizeof *j->hit_scores);
    j->matches = ms_cli_alloc(j->n_variants * (size_t)j->k, sizeof *j->matches);
    j->out = (ms_results_out){.corpus = j->corpus, .format = j->set->format, .columns = table_columns(),
                              .has_color = ms_cli_color(STDOUT_FILENO)};
}

/* A context whose batches hold a sequence of n tokens; a longer query than before gets a larger one. */
static int ensure_context(job *j, int64_t n_tokens, msim_error *err) {
    if (j->context && n_tokens <= j->batch_tokens) return 0;
    msim_options o = ms_cli_library_options(&j->set->common);
    o.max_batch_tokens = n_tokens > BATCH_TOKENS ? n_tokens : BATCH_TOKENS;
    o.max_queries = (int64_t)(j->group_cap * j->n_variants);
    o.max_k = j->k;
    msim_context_close(j->context);
    j->context = NULL;
    int rc = msim_context_open(j->model, &o, &j->context, err);
    if (rc >= 0) rc = msim_context_load_corpus(j->context, j->corpus, err);
    j->batch_tokens = o.max_batch_tokens;
    return rc;
}

/* ---- Queries ---- */

/* Embed the variants in the order of starts [n_variants + 1] into out, as many at a time as fit a batch. */
static int embed_variants(job *j, const int64_t *starts, float *out, msim_error *err) {
    int64_t batch_starts[MAX_VARIANTS + 1];
    double began = ms_cli_now();
    for (size_t first = 0, n; first < j->n_variants; first += n) {
        for (n = 0; first + n < j->n_variants; n++) {
            batch_starts[n] = starts[first + n] - starts[first];
            if (n && starts[first + n + 1] - starts[first] > j->batch_tokens) break;
        }
        batch_starts[n] = starts[first + n] - starts[first];
        int rc = msim_context_embed(j->context, j->ids + starts[first], batch_starts, n,
                                    j->is_weighted ? j->weights : NULL, out + first * (size_t)j->rows.dim, err);
        if (rc < 0) return rc;
    }
    j->embed_seconds += ms_cli_now() - began;
    return 0;
}

/* Add one query's vectors to the group. Returns a ms_files_reason, or < 0 for a failure that ends the run. */
static int add_query(job *j, const ms_files_entry *entry, char *detail, msim_error *err) {
    int64_t starts[MAX_VARIANTS + 1], limit = j->max_tokens ? j->max_tokens : INT64_MAX;
    int reason = entry->reason;
    if (reason != MS_FILES_OK)
        snprintf(detail, MS_FILES_DETAIL, "%s", entry->detail ? entry->detail : "");
    else
        reason = ms_files_read(entry, &j->buffer, detail);
    if (reason != MS_FILES_OK) return reason;
    int factor = (int)j->set->transpose;
    size_t bound = msim_tokenizer_bound(j->buffer.n_bytes, factor, limit);
    j->ids = ms_cli_grow(j->ids, &j->ids_cap, bound, sizeof *j->ids);
    int64_t n = msim_tokenizer_encode(j->tokenizer, j->buffer.data, j->buffer.n_bytes, factor, limit, j->ids,
                                      j->ids_cap, starts, err);
    if (n == -MSIM_E_FORMAT || n == -MSIM_E_EMPTY) {
        snprintf(detail, MS_FILES_DETAIL, "%s", err->text);
        return ms_files_reason_of_outcome(msim_tokenizer_outcome(j->tokenizer));
    }
    if (n < 0) return (int)n;
    if (msim_tokenizer_full_length(j->tokenizer) > starts[1]) j->n_cut++;
    int rc = ensure_context(j, starts[1], err);
    if (rc >= 0) rc = embed_variants(j, starts, j->vectors + j->n_group * j->n_variants * (size_t)j->rows.dim, err);
    if (rc < 0) return rc;
    j->group[j->n_group++] = entry->path;
    return MS_FILES_OK;
}

/* Search the group's vectors in one pass and print each query. 0, 1 when output ended, or < 0 with err filled. */
static int search_group(job *j, msim_error *err) {
    double began = ms_cli_now();
    if (j->n_group == 0) return 0;
    int64_t n = msim_context_search(j->context, j->vectors, j->n_group * j->n_variants, j->k, j->hit_rows,
                                    j->hit_scores, err);
    if (n < 0) return (int)n;
    j->search_seconds += ms_cli_now() - began;
    msim_stats stats;
    msim_context_stats(j->context, &stats);
    j->out.n_nonfinite = stats.rows_nonfinite;
    ms_cli_progress_end();
    int rc = 0;
    for (size_t i = 0; i < j->n_group && rc == 0; i++) {
        const int64_t *rows = j->hit_rows + i * j->n_variants * (size_t)j->k;
        const double *scores = j->hit_scores + i * j->n_variants * (size_t)j->k;
        if (j->set->format == MS_RESULTS_MIDISIM) {
            rc = ms_results_print_midisim(&j->out, rows, scores, j->n_variants, n, j->k);
            continue;
        }
        int64_t n_matches = ms_results_merge(rows, scores, j->n_variants, n, j->k, -(int)(j->n_variants / 2), j->k,
                                             j->matches);
        rc = ms_results_print(&j->out, j->group[i], j->n_variants, j->matches, n_matches);
    }
    j->n_searched += (int64_t)j->n_group;
    j->n_group = 0;
    return rc == 0 ? 0 : 1;
}

static int run_queries(job *j, const ms_files_list *list) {
    char detail[MS_FILES_DETAIL];
    msim_error e;
    int rc = ms_results_begin(&j->out) == 0 ? 0 : 1;
    for (size_t i = 0; i < list->n && rc == 0 && !ms_cli_stopped(); i++) {
        const ms_files_entry *entry = &list->entries[i];
        if (list->n > 1) ms_cli_progress("queries", (int64_t)i, (int64_t)list->n);
        rc = add_query(j, entry, detail, &e);
        if (rc > 0) {
            ms_files_skips_add(j->skips, entry->path, rc, detail, entry->is_named);
            rc = 0;
        }
        if (rc == 0 && j->n_group == j->group_cap) rc = search_group(j, &e);
    }
    if (rc == 0) rc = search_group(j, &e);
    ms_cli_progress_end();
    if (rc < 0) ms_cli_error("%s", e.text);
    return rc < 0 ? MS_EXIT_FAILED : MS_EXIT_OK;
}

static void summarise(const job *j) {
    char rows[32], queries[32];
    if (j->n_cut)
        ms_cli_note("%s quer%s longer than %lld tokens: only the beginning is used", ms_cli_count(queries, j->n_cut),
                    j->n_cut == 1 ? "y is" : "ies are", (long long)j->max_tokens);
    if (j->n_searched == 0) return;
    if (j->out.n_nonfinite)
        ms_cli_warning("%s row%s with NaN or infinity, ranked last: %s", ms_cli_count(rows, j->out.n_nonfinite),
                       j->out.n_nonfinite == 1 ? "" : "s", j->set->corpus);
    bool is_cuda = j->model_info.device == MSIM_DEVICE_CUDA;
    const char *level = is_cuda ? "cuda" : msim_isa_name(j->model_info.isa);
    ms_cli_note("%s quer%s x %zu variant%s over %s rows: embedded in %.2f s, searched in %.2f s (%s, %s)",
                ms_cli_count(queries, j->n_searched), j->n_searched == 1 ? "y" : "ies", j->n_variants,
                j->n_variants == 1 ? "" : "s", ms_cli_count(rows, j->rows.rows), j->embed_seconds, j->search_seconds,
                level, msim_precision_name(j->model_info.precision));
}

static int run(job *j) {
    msim_error e;
    ms_files_list list = {0};
    ms_files_request request = {.paths = &j->set->common.operands, .has_stream = true};
    int status = open_corpus(j);
    if (status < 0) status = open_model(j);
    if (status < 0) status = apply_settings(j);
    if (status >= 0) return status;
    if (ms_files_list_open(&request, &list, &e) < 0 || ms_files_skips_open(NULL, &j->skips, &e) < 0) {
        if (!ms_cli_stopped()) ms_cli_error("%s", e.text);
        ms_files_list_close(&list);
        return MS_EXIT_FAILED;
    }
    make_room(j, list.n);
    status = run_queries(j, &list);
    if (ms_files_skips_failures(j->skips) > 0 || list.n_empty_folders > 0) status = MS_EXIT_FAILED;
    (void)ms_files_skips_close(j->skips, &e);
    summarise(j);
    ms_files_list_close(&list);
    return status;
}

static void close_job(job *j) {
    msim_context_close(j->context);
    msim_tokenizer_close(j->tokenizer);
    msim_model_close(j->model);
    msim_corpus_close(j->corpus);
    ms_results_free(&j->out);
    ms_files_buffer_free(&j->buffer);
    free(j->vectors);
    free(j->hit_rows);
    free(j->hit_scores);
    free(j->matches);
    free(j->ids);
}

int main(int argc, char **argv) {
    settings set = {.k = 16, .transpose = 6, .max_tokens = DEFAULT_TOKENS, .pooling = -1, .format = -1,
                    .weights = {1.0f, 1.0f, 1.0f}};
    int status = ms_cli_parse(&tool, argc, argv, &set);
    if (status >= 0) return status;
    job j = {.set = &set};
    status = check_usage(&set);
    if (status < 0) {
        ms_cli_catch_signals();
        status = run(&j);
        close_job(&j);
    }
    free(set.common.operands.items);
    return ms_cli_finish(status);
}
