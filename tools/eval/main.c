/* midisim-eval: how well rankings find the pieces that belong together.
 *   truth     what belongs together      queries   which rows are a query
 *   corpora   opened, or made first      rank      every candidate in order, measured
 *   report    tables, JSON and CSV
 * The measures are the library's (msim_eval). docs/QUALITY.md. */
#define _GNU_SOURCE
#include "corpora.h"
#include "report.h"
#include "base/mem.h"
#include "common/texts/output.h"
#include <stdio.h>
#include <string.h>

#define AT(field) .offset = offsetof(ms_eval_settings, field)
static const ms_cli_option options[] = {
    {.name = "truth",
     .kind = MS_CLI_TEXT,
     .value = "folders|FILE",
     AT(truth),
     .help =
         "what belongs together: folders (the pieces of one folder), or a file with two columns "
         "and a tab between them, by names of rows: pairs (a, b), or groups (group, name) under "
         "the line 'group<TAB>name'",
     .brief = "what belongs together: folders, or a TSV file"},
    {.name = "truth-format",
     .kind = MS_CLI_CHOICE,
     .value = "pairs|groups",
     .choices = "pairs|groups",
     AT(truth_format),
     .help =
         "what the columns of the file are (default: pairs, unless its first line says groups)"},
    {.name = "truth-pattern",
     .kind = MS_CLI_TEXT,
     .value = "REGEX",
     AT(pattern),
     .help = "instead: names belong together when the first group of this extended regular "
             "expression finds the same text in them; a name without a match belongs to nothing",
     .brief = "or: names with the same text in the group of a pattern"},
    {.name = "queries",
     .kind = MS_CLI_TEXTS,
     .value = "CORPUS",
     AT(queries),
     .help =
         "ask with the rows of this corpus instead of with the pieces themselves: given once, "
         "for all columns; or once for each. Rows of one name are one query: its windows, and in "
         "several files of a folder its keys",
     .brief = "ask with the rows of this corpus instead"},
    {.name = "include-self",
     .kind = MS_CLI_FLAG,
     AT(includes_self),
     .help = "with --queries: a piece with the query's own name may be found too"},
    {.name = "join",
     .kind = MS_CLI_CHOICE,
     .value = "best|mean",
     .choices = "best|mean",
     AT(join),
     .help = "the score of a piece for a query of several windows: that of the best pair, as in "
             "midisim-search, or the mean over the query's windows of their best rows (default "
             "best)"},
    {.name = "resamples",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 0,
     .max = 100000,
     AT(resamples),
     .help = "how many random choices of the queries the 95 % intervals are made of (default 1000; "
             "0: no intervals)"},
    {.name = "keep",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     AT(keep),
     .help = "keep the corpora of MIDI folders in this folder, and bring them up to date when they "
             "are there"},
    {.name = "json",
     .kind = MS_CLI_FLAG,
     AT(is_json),
     .help = "print one JSON object for each corpus",
     .brief = "print one JSON object for each corpus"},
    {.name = "csv",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     AT(csv),
     .help = "also write all measures and curves to FILE; bench/plot_eval.py draws them",
     .brief = "also write measures and curves to FILE"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-eval corpus.npy --truth folders",
     "the versions of each song lie in a folder of their own"},
    {"midisim-eval plain.npy windows.npy --truth pairs.tsv --csv eval.csv",
     "two settings side by side, and their curves"},
    {"midisim-eval performances.npy --queries scores.npy --truth-pattern '^(.*)/[^/]*$'",
     "score to performance, one direction alone"},
    {"midisim-eval -m my.safetensors music/ --truth folders", "embed a folder first"},
    {0}};

static const ms_cli_tool tool = {
    .name = "midisim-eval",
    .purpose = "Measures how well a corpus finds the pieces that belong together.",
    .summary = "measure how well corpora find what belongs together",
    .usage = "[options] CORPUS... --truth folders|FILE\n"
             "[options] CORPUS... --truth-pattern REGEX",
    .description =
        "CORPUS is a corpus as for midisim-search, or a folder of MIDI files, which is embedded "
        "first. Every piece that has a relative is a query in turn. The exact search ranks all "
        "other "
        "pieces, each by its best row. The table has one column for each corpus.\n\n"
        "R@K is the share of queries with a relative among the first K. MRR is the mean of 1 / "
        "rank "
        "of the best relative. mAP is the mean average precision over all relatives. The median "
        "rank is that of the best relative. Precision, recall and F1 are those of pairs that score "
        "at least a threshold.\n\n"
        "The brackets hold 95 % intervals: the measures of random choices of the queries, with "
        "repetition and a fixed seed. Queries of one group are not independent, so real intervals "
        "are somewhat wider. Of equal scores the lower row comes first, as in the search.\n\n"
        "Names of the truth that are not in the corpus are counted and left out.",
    .examples = examples,
    .options = options,
    .uses_model = true,
    .exits = "nothing could be measured: no query has a relative, or a file could not be used"};

static int check_settings(const ms_eval_settings *s) {
    size_t n = s->common.operands.n;
    if (n == 0) return ms_cli_usage("no corpus: give a CORPUS or a folder of MIDI files");
    if (!s->truth == !s->pattern)
        return ms_cli_usage(s->truth
                                ? "--truth and --truth-pattern cannot be combined: give one of "
                                  "them"
                                : "no truth: give --truth folders, --truth FILE or "
                                  "--truth-pattern REGEX");
    if (s->truth_format >= 0 && (!s->truth || strcmp(s->truth, "folders") == 0))
        return ms_cli_usage("--truth-format is for --truth FILE: give that too");
    if (s->queries.n > 1 && s->queries.n != n)
        return ms_cli_usage("--queries: expected one, or one for each of the %zu corpora, got %zu",
                            n, s->queries.n);
    if (s->includes_self && s->queries.n == 0)
        return ms_cli_usage("--include-self is for --queries: give that too");
    return 0;
}

static int check_width(const char *path, const msim_corpus *corpus, const char *queries_path,
                       const msim_corpus *queries, msim_error *err) {
    msim_corpus_info a = {.size = sizeof a}, b = {.size = sizeof b};
    int rc = msim_corpus_get_info(corpus, &a);
    if (rc >= 0) rc = msim_corpus_get_info(queries, &b);
    if (rc < 0 || a.dim == b.dim) return rc;
    return ms_fail(err, MSIM_E_ARG,
                   "queries and corpus do not fit: %.200s: expected rows of the width %lld of "
                   "%.150s, got %lld",
                   queries_path, (long long)a.dim, path, (long long)b.dim);
}

static void say_column(const ms_eval_column *c) {
    char queries[32], pieces[32], alone[32];
    msim_eval_report r = {.size = sizeof r};
    msim_eval_options none = msim_eval_options_default();
    none.resamples = 0;
    if (msim_eval_get_report(c->eval, &none, &r, NULL) < 0) return;
    ms_cli_note("%s: %s pieces, %s queries; %s have no relative and are not asked", c->path,
                ms_cli_count(pieces, c->n_pieces), ms_cli_count(queries, r.queries),
                ms_cli_count(alone, c->n_alone));
    if (c->n_broken)
        ms_cli_warning("%s row%s of queries with NaN or infinity left out: %s",
                       ms_cli_count(alone, c->n_broken), ms_cli_plural(c->n_broken), c->path);
}

/* Measure corpus number i. */
static int measure(const ms_eval_settings *s, ms_eval_truth *truth, size_t i, ms_eval_column *out,
                   msim_error *err) {
    const char *path = s->common.operands.items[i],
               *asked = s->queries.n == 0 ? NULL : s->queries.items[s->queries.n > 1 ? i : 0];
    msim_corpus *corpus, *queries = NULL;
    out->path = path;
    int rc = ms_eval_corpus_open(s, path, &corpus, err);
    if (rc >= 0 && asked) rc = ms_eval_corpus_open(s, asked, &queries, err);
    if (rc >= 0 && asked) rc = check_width(path, corpus, asked, queries, err);
    if (rc >= 0) rc = ms_eval_rank(s, truth, corpus, queries, out, err);
    if (rc >= 0) say_column(out);
    msim_corpus_close(queries);
    msim_corpus_close(corpus);
    return rc;
}

static int run(const ms_eval_settings *s, msim_error *err) {
    size_t n = s->common.operands.n;
    ms_eval_truth *truth = NULL;
    int rc = ms_cli_check_output(s->csv, NULL, err);
    if (rc < 0) return rc;
    ms_eval_column *columns = ms_alloc(n, sizeof *columns, "columns", err);
    rc = columns ? ms_eval_truth_open(s, &truth, err) : -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) rc = measure(s, truth, i, columns + i, err);
    if (rc >= 0)
        rc = s->is_json ? ms_eval_print_json(s, columns, n, err)
                        : ms_eval_print_table(s, columns, n, err);
    if (rc >= 0 && s->csv) rc = ms_eval_write_csv(s, columns, n, err);
    for (size_t i = 0; i < n && columns; i++) msim_eval_close(columns[i].eval);
    ms_eval_truth_close(truth);
    ms_free(columns);
    return rc;
}

int main(int argc, char **argv) {
    static ms_eval_settings s = {.truth_format = -1, .resamples = 1000};
    msim_error err = {0};
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    if (rc == 0) rc = check_settings(&s);
    if (rc != 0) return ms_cli_finish(rc);
    ms_cli_catch_signals();
    rc = run(&s, &err);
    ms_cli_progress_end();
    if (rc < 0 && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    return ms_cli_finish(rc);
}
