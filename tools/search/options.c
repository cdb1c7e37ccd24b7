/* What midisim-search may be asked: the option table, its defaults, and the combinations that mean
 * nothing. Contract: tools/search/options.h. */
#define _GNU_SOURCE
#include "options.h"
#include "results.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(ms_search_settings, field)

static const ms_cli_option options[] = {
    {.name = "corpus",
     .letter = 'c',
     .kind = MS_CLI_TEXTS,
     .value = "CORPUS",
     .help = "rows to search: a .npy file of any form, fvecs, fbin, or a folder of such files; may "
             "be repeated, the "
             "rows are then numbered through",
     .offset = AT(corpora)},
    {.name = "names-file",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .help = "names of the rows of a corpus without names, one a line (default: CORPUS.names where "
             "it is, else rows are "
             "named by their number, from 0)",
     .offset = AT(names_file)},
    {.name = "like",
     .kind = MS_CLI_TEXTS,
     .value = "NAME",
     .help = "query: the row of the corpus with this name; needs no model; may be repeated",
     .offset = AT(likes)},
    {.name = "query-vectors",
     .kind = MS_CLI_TEXTS,
     .value = "FILE",
     .help = "queries: the rows of a file, of any form a corpus may have; needs no model; may be "
             "repeated",
     .offset = AT(vectors)},
    {.name = "top",
     .letter = 'k',
     .kind = MS_CLI_INT,
     .value = "K",
     .min = 1,
     .max = 10000,
     .help = "matches of each query, 1..10000 (default 16)",
     .offset = AT(k)},
    {.name = "threshold",
     .kind = MS_CLI_REAL,
     .value = "S",
     .help = "instead of -k: every row that scores S or more, in rank order",
     .offset = AT(threshold)},
    {.name = "metric",
     .kind = MS_CLI_CHOICE,
     .value = "cosine|ip",
     .choices = "cosine|ip",
     .help = "score: the cosine, or the inner product of the vectors as they are (default cosine)",
     .offset = AT(metric)},
    {.name = "transpose",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 0,
     .max = 6,
     .help = "search a MIDI file moved by -N..N-1 semitones, 0..6, and let the best count (default "
             "6; 0: as it is)",
     .offset = AT(transpose)},
    {.name = "all-transpositions",
     .kind = MS_CLI_FLAG,
     .help = "let every transposition of a row count as a match of its own",
     .offset = AT(keeps_variants)},
    {.name = "exclude",
     .kind = MS_CLI_TEXTS,
     .value = "NAME",
     .help = "leave out the rows with this name; may be repeated",
     .offset = AT(excluded)},
    {.name = "exclude-from",
     .kind = MS_CLI_TEXT,
     .value = "FILE|-",
     .help = "leave out the rows with these names, one a line",
     .offset = AT(excluded_from)},
    {.name = "exclude-self",
     .kind = MS_CLI_FLAG,
     .help = "leave out the rows with the query's own name; for a MIDI file: its path as typed, "
             "what remains of it "
             "without leading folders, down to the base name, and the base name without extension",
     .offset = AT(excludes_self)},
    {.name = "pooling",
     .kind = MS_CLI_CHOICE,
     .value = "mean|weighted",
     .choices = "mean|weighted",
     .help = "how token vectors become one (default: as the corpus was made, else mean)",
     .offset = AT(pooling)},
    {.name = "pool-weights",
     .kind = MS_CLI_REALS,
     .value = "ON,DUR,PITCH",
     .max = 3,
     .help = "weights of start-time, duration and pitch tokens (default 1,1,1; only with --pooling "
             "weighted)",
     .offset = AT(weights)},
    {.name = "max-tokens",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 0,
     .max = INT64_C(1) << 30,
     .help = "use the first N tokens of a MIDI file (default: as the corpus was made, else 3072; "
             "0: all)",
     .offset = AT(max_tokens)},
    {.name = "format",
     .kind = MS_CLI_CHOICE,
     .value = "FORMAT",
     .choices = "table|tsv|json|midisim",
     .help = "table, tsv, json (one object a query) or midisim (the original's listing, with K "
             "matches a variant); "
             "default table on a terminal, else tsv",
     .offset = AT(format)},
    {.name = "json",
     .kind = MS_CLI_FLAG,
     .help = "the same as --format json",
     .offset = AT(is_json)},
    {.name = "scan",
     .kind = MS_CLI_CHOICE,
     .value = "FORM",
     .choices = "auto|f64|f32|bf16|int8",
     .help = "how rows are ruled out before they are scored: auto, f64 (none is), f32 (the rows as "
             "they are), or by a "
             "small copy, bf16 or int8; the answer is the same (default auto: the fastest that "
             "there is)",
     .offset = AT(scan)},
    {.name = "prepare",
     .kind = MS_CLI_FLAG,
     .help = "write the small copy CORPUS.npy.msim, with which searches are several times as fast; "
             "one that is there "
             "and fits stays; needs no query",
     .offset = AT(prepares)},
    {.name = "cache",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .help = "keep small copies in this folder instead, and write them on first use",
     .offset = AT(cache)},
    {.name = "verify",
     .kind = MS_CLI_FLAG,
     .help = "with --prepare: compare all of a copy that is there with the rows, not a sample",
     .offset = AT(verifies)},
    {.name = "copy-to",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .help = "copy the matches' MIDI files to DIR/QUERY as SCORE_TRANSPOSE_NAME.mid, and the query "
             "itself as QUERY.mid",
     .offset = AT(copy_to)},
    {.name = "midi-root",
     .kind = MS_CLI_TEXTS,
     .value = "ROOT",
     .help = "folder with the corpus's MIDI files, for --copy-to; may be repeated",
     .offset = AT(midi_roots)},
    {.name = "no-original",
     .kind = MS_CLI_FLAG,
     .help = "with --copy-to: leave out the query itself",
     .offset = AT(omits_original)},
    {.name = "force",
     .kind = MS_CLI_FLAG,
     .help = "search although the corpus was made with another model or other settings; let "
             "--copy-to replace files",
     .offset = AT(is_forced)},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-search -c corpus.npy song.mid",
     "the 16 pieces nearest to song.mid, in any of 12 keys"},
    {"midisim-search -c corpus.npy -k 5 --json a.mid b.mid | jq '.matches[0].name'",
     "the best match of each, as JSON"},
    {"curl -s ADDRESS | midisim-search -c corpus.npy --transpose 0 -",
     "a piece from a pipe, in its own key"},
    {"midisim-search -c corpus.npy --like b/song.mid --exclude-self --threshold 0.95",
     "every row that is nearly the same as this one"},
    {"midisim-search -c corpus.npy --prepare",
     "write the small copy that makes later searches faster"},
    {"midisim-search -c corpus.npy --copy-to found --midi-root music song.mid",
     "copy the matches' files to found/song"},
    {NULL, NULL}};

const ms_cli_tool ms_search_tool = {
    .name = "midisim-search",
    .summary = "find the MIDI files of a corpus that are most like a piece",
    .usage = "[-m MODEL] -c CORPUS [-k 16] [options] QUERY...\n"
             "-c CORPUS [-k 16] [options] --like NAME | --query-vectors FILE\n"
             "-c CORPUS --prepare [--cache DIR]",
    .description = "QUERY is a MIDI file, also gzip-compressed, or - for MIDI bytes on standard "
                   "input. It is embedded "
                   "in transposed variants, and for each row of CORPUS the best variant counts. "
                   "The search is exact: "
                   "scores are evaluated in double precision in one fixed order, and the same "
                   "vectors give the same "
                   "answer on every machine, level, thread count and scan form. Answers come in "
                   "this order: MIDI files, "
                   "--like, --query-vectors.\n\n"
                   "CORPUS.npy.json, where it exists, says with which model and settings the "
                   "corpus was made: the "
                   "query is treated alike, and another model is refused. TSV columns: query, rank "
                   "(from 1), score, "
                   "transpose (semitones of the best variant), row (from 0) and name, in which "
                   "tab, newline and "
                   "backslash are written \\t, \\n and \\\\.",
    .examples = examples,
    .options = options,
    .uses_model = true,
};

ms_search_settings ms_search_settings_default(void) {
    return (ms_search_settings){.k = 16,
                                .transpose = 6,
                                .max_tokens = MSIM_TRAINED_TOKENS,
                                .pooling = -1,
                                .format = -1,
                                .weights = {1.0f, 1.0f, 1.0f}};
}

static bool is_given(const ms_search_settings *set, const char *name) {
    return ms_cli_given(&ms_search_tool, set, name);
}

static int check_output(ms_search_settings *set, msim_error *err) {
    if (set->is_json) {
        if (set->format >= 0 && set->format != MS_RESULTS_JSON)
            return ms_cli_fail(err, MSIM_E_ARG, "--json: expected no other --format beside it");
        set->format = MS_RESULTS_JSON;
    }
    if (set->format < 0)
        set->format = ms_cli_is_terminal(STDOUT_FILENO) ? MS_RESULTS_TABLE : MS_RESULTS_TSV;
    if (set->format == MS_RESULTS_MIDISIM && set->has_threshold)
        return ms_cli_fail(
            err, MSIM_E_ARG,
            "--format midisim: expected -k, which the original's listing has, got --threshold");
    if (set->format == MS_RESULTS_MIDISIM && set->metric == MSIM_METRIC_IP)
        return ms_cli_fail(err, MSIM_E_ARG,
                           "--format midisim: expected the cosine, which the original's listing "
                           "has, got --metric ip");
    int64_t most = MSIM_GPU_MAX_K - (set->excludes_self ? MS_SEARCH_EXTRA : 0);
    if (set->common.device == MSIM_DEVICE_CUDA && !set->has_threshold && set->k > most)
        return ms_cli_fail(
            err, MSIM_E_ARG, "-k: expected at most %lld with --device cuda%s, got %lld",
            (long long)most, set->excludes_self ? " and --exclude-self" : "", (long long)set->k);
    if (set->has_threshold && is_given(set, "top"))
        return ms_cli_fail(err, MSIM_E_ARG, "--threshold: expected it instead of -k, got both");
    return 0;
}

static int check_scan(const ms_search_settings *set, msim_error *err) {
    static const char *const names[] = {"auto", "f64", "f32", "bf16", "int8"};
    bool is_plain = set->scan == MSIM_SCAN_F64 || set->scan == MSIM_SCAN_F32;
    const char *wants = set->prepares ? "--prepare" : set->cache ? "--cache" : NULL;
    if (set->verifies && !set->prepares)
        return ms_cli_fail(err, MSIM_E_ARG, "--verify: expected --prepare beside it");
    if (wants && is_plain)
        return ms_cli_fail(err, MSIM_E_ARG,
                           "%s: expected --scan auto, bf16 or int8, which have copies, got %s",
                           wants, names[set->scan]);
    if (set->metric != MSIM_METRIC_IP) return 0;
    if (wants)
        return ms_cli_fail(err, MSIM_E_ARG,
                           "%s: expected the cosine, which copies serve, got --metric ip", wants);
    if (set->scan == MSIM_SCAN_BF16 || set->scan == MSIM_SCAN_INT8)
        return ms_cli_fail(err, MSIM_E_ARG,
                           "--scan: expected auto, f64 or f32 with --metric ip, got %s",
                           names[set->scan]);
    return 0;
}

static int check_copying(const ms_search_settings *set, msim_error *err) {
    if (set->copy_to && set->midi_roots.n == 0)
        return ms_cli_fail(
            err, MSIM_E_ARG,
            "--copy-to: expected --midi-root ROOT, the folder with the corpus's files");
    if (!set->copy_to && set->midi_roots.n)
        return ms_cli_fail(err, MSIM_E_ARG, "--midi-root: expected --copy-to DIR beside it");
    if (!set->copy_to && set->omits_original)
        return ms_cli_fail(err, MSIM_E_ARG, "--no-original: expected --copy-to DIR beside it");
    return 0;
}

/* Without a query, only --prepare has something to do. */
static int check_queries(const ms_search_settings *set, msim_error *err) {
    static const char *const needing[] = {"top",          "threshold",    "exclude",
                                          "exclude-from", "exclude-self", "copy-to"};
    size_t n_streams = 0;
    for (size_t i = 0; i < set->common.operands.n; i++)
        n_streams += strcmp(set->common.operands.items[i], "-") == 0;
    bool reads_names = set->excluded_from && strcmp(set->excluded_from, "-") == 0;
    if (n_streams + reads_names > 1)
        return ms_cli_fail(err, MSIM_E_ARG, "-: expected standard input once, got it %zu times",
                           n_streams + reads_names);
    if (ms_search_has_queries(set)) return 0;
    if (!set->prepares)
        return ms_cli_fail(
            err, MSIM_E_ARG,
            "no query: expected a MIDI file, - for standard input, --like or --query-vectors");
    for (size_t i = 0; i < sizeof needing / sizeof *needing; i++)
        if (is_given(set, needing[i]))
            return ms_cli_fail(err, MSIM_E_ARG, "--%s: expected a query, got none", needing[i]);
    return 0;
}

int ms_search_check_usage(ms_search_settings *set, msim_error *err) {
    set->has_threshold = is_given(set, "threshold");
    if (set->corpora.n == 0) return ms_cli_fail(err, MSIM_E_ARG, "no corpus: expected -c CORPUS");
    int rc = check_queries(set, err);
    if (rc >= 0) rc = check_output(set, err);
    if (rc >= 0) rc = check_scan(set, err);
    if (rc >= 0) rc = check_copying(set, err);
    if (rc >= 0 && is_given(set, "pool-weights") && is_given(set, "pooling") && set->pooling != 1)
        rc = ms_cli_fail(err, MSIM_E_ARG, "--pool-weights: expected --pooling weighted, got mean");
    return rc;
}
