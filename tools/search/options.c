/* What midisim-search may be asked: the option table, its defaults, and the combinations that mean
 * nothing. Contract: tools/search/options.h. */
#define _GNU_SOURCE
#include "options.h"
#include "common/fits/prior.h"
#include "common/fits/whitened.h"
#include "common/notes/html.h"
#include "print/results.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(ms_search_settings, field)

static const ms_cli_option options[] = {
    {.name = "corpus",
     .letter = 'c',
     .kind = MS_CLI_TEXTS,
     .value = "CORPUS",
     .offset = AT(corpora),
     .help = "what to search: a .npy file of any format, .fvecs, .fbin, or a folder of such files. "
             "May be repeated; rows are then counted through all of them",
     .brief = "what to search: a file or a folder"},
    {.name = "names-file",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(names_file),
     .help = "the names of rows that have none, one per line (default: CORPUS.names if it exists, "
             "else the row's number from 0)"},
    {.name = "like",
     .kind = MS_CLI_TEXTS,
     .value = "NAME",
     .offset = AT(likes),
     .help = "a query: the row of the corpus with this name. Needs no model; may be repeated",
     .brief = "search for this row of the corpus; needs no model"},
    {.name = "query-vectors",
     .kind = MS_CLI_TEXTS,
     .value = "FILE",
     .offset = AT(vectors),
     .help = "queries: the rows of a file in any format of a corpus. Needs no model; may be "
             "repeated"},
    {.name = "find",
     .kind = MS_CLI_FLAG,
     .offset = AT(finds),
     .help =
         "also compare notes, as midisim-find does: the pieces that share more notes with a MIDI "
         "file or a --like row than chance gives stand first, in a list of their own",
     .brief = "list pieces that share notes first, by the note index"},
    {.name = "find-if-there",
     .kind = MS_CLI_FLAG,
     .offset = AT(finds_if_there),
     .help = "the same where there is a note index. Without one a line says so. 'midisim QUERY -c "
             "CORPUS' does this"},
    {.name = "notes",
     .kind = MS_CLI_TEXT,
     .value = "INDEX",
     .offset = AT(notes_index),
     .help = "with --find: the note index, or a folder of MIDI files, whose index is made and kept "
             "in the cache folder ($XDG_CACHE_HOME/midisim). Default: CORPUS.notes for CORPUS.npy, "
             "else the folder of --midi-root, or CORPUS itself if it is a folder with MIDI files"},
    MS_CLI_ROW_EVALUE(ms_search_settings),
    MS_CLI_ROW_SAME_KEY(ms_search_settings),
    MS_CLI_ROW_SAME_TEMPO(ms_search_settings),
    {.name = "top",
     .letter = 'k',
     .kind = MS_CLI_INT,
     .value = "K",
     .min = 1,
     .max = 10000,
     .offset = AT(k),
     .help = "how many matches of each query, 1..10000 (default 16); with --find, in each list",
     .brief = "how many matches of each query (default 16)"},
    {.name = "threshold",
     .kind = MS_CLI_REAL,
     .value = "S",
     .offset = AT(threshold),
     .help = "instead of -k: every row that scores S or more, best first",
     .brief = "instead of -k: every row that scores S or more"},
    {.name = "metric",
     .kind = MS_CLI_CHOICE,
     .value = "cosine|ip",
     .choices = "cosine|ip",
     .offset = AT(metric),
     .help = "the score: the cosine, or the inner product of the vectors as they are (default "
             "cosine)"},
    {.name = "transpose",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 0,
     .max = 6,
     .offset = AT(transpose),
     .help = "search a MIDI file in 2N keys, moved by -N..N-1 semitones, and let the best of them "
             "count, 0..6 (default 6; 0: its own key alone)"},
    {.name = "keys",
     .kind = MS_CLI_CHOICE,
     .value = "all|likely",
     .choices = "all|likely",
     .offset = AT(keys),
     .help = "all (default): embed a MIDI file in every key. likely: try its first 512 tokens in "
             "every key, and all of it in the three best of them alone. That takes less than half "
             "the time and may miss a match"},
    {.name = "all-transpositions",
     .kind = MS_CLI_FLAG,
     .offset = AT(keeps_variants),
     .help = "let each key of the query count as a match of its own"},
    {.name = "exclude",
     .kind = MS_CLI_TEXTS,
     .value = "NAME",
     .offset = AT(excluded),
     .help = "leave out the rows with this name; may be repeated"},
    {.name = "exclude-from",
     .kind = MS_CLI_TEXT,
     .value = "FILE|-",
     .offset = AT(excluded_from),
     .help = "leave out the rows with the names in this file, one per line; - reads standard "
             "input"},
    {.name = "exclude-self",
     .kind = MS_CLI_FLAG,
     .offset = AT(excludes_self),
     .help = "leave out the rows with the query's own name. For a MIDI file that is its path as "
             "typed, the path without its first folders, the base name, and the base name without "
             "extension",
     .brief = "leave out the row that is the query itself"},
    MS_CLI_ROW_POOLING(ms_search_settings, "as the corpus was made, else mean"),
    MS_CLI_ROW_POOL_WEIGHTS(ms_search_settings),
    MS_CLI_ROW_TOKEN_ORDER(ms_search_settings),
    MS_CLI_ROW_CLEAN(ms_search_settings),
    MS_CLI_ROW_NO_CLEAN(ms_search_settings),
    MS_CLI_ROW_MAX_TOKENS(ms_search_settings, INT64_C(1) << 30,
                          "use the first N tokens of a MIDI file (default: as the corpus was made, "
                          "else " MS_CLI_TOKENS "; 0: all of them)"),
    {.name = "format",
     .kind = MS_CLI_CHOICE,
     .value = "FORMAT",
     .choices = "table|tsv|json|midisim",
     .offset = AT(format),
     .help = "table, tsv, json (one object per query), or midisim (the listing of the Python "
             "package, K matches in each key). Default: table on a terminal, else tsv"},
    {.name = "json",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_json),
     .help = "the same as --format json",
     .brief = "print one JSON object per query"},
    MS_CLI_ROW_WHITEN(ms_search_settings),
    MS_CLI_ROW_PRIOR_FIT(ms_search_settings),
    MS_CLI_ROW_PRIOR_ROWS(ms_search_settings),
    {.name = "scan",
     .kind = MS_CLI_CHOICE,
     .value = "SCAN",
     .choices = "auto|f64|f32|bf16|int8",
     .offset = AT(scan),
     .help = "how rows are ruled out before they are scored: f64 (no row is), f32 (from the rows "
             "themselves), bf16 or int8 (from quantised rows, see --prepare). The answer is always "
             "the same (default auto: the fastest that is there)"},
    {.name = "prepare",
     .kind = MS_CLI_FLAG,
     .offset = AT(prepares),
     .help = "write quantised rows to CORPUS.npy.msim, which make later searches several times as "
             "fast. A file that is there and fits is kept. Needs no query"},
    {.name = "cache",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .offset = AT(cache),
     .help = "keep quantised and whitened rows in this folder instead, and write them on first "
             "use"},
    {.name = "verify",
     .kind = MS_CLI_FLAG,
     .offset = AT(verifies),
     .help = "with --prepare: compare all quantised rows that are there with the corpus, not a "
             "sample"},
    {.name = "copy-to",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .offset = AT(copy_to),
     .help = "copy the MIDI files of the matches to DIR/QUERY, as SCORE_TRANSPOSE_NAME.mid, and "
             "the query itself as QUERY.mid"},
    MS_CLI_ROW_HTML(ms_search_settings),
    MS_CLI_ROW_MIDI_ROOT(ms_search_settings, midi_roots, "with --copy-to and --html: ", NULL),
    {.name = "no-original",
     .kind = MS_CLI_FLAG,
     .offset = AT(omits_original),
     .help = "with --copy-to: leave out the query itself"},
    {.name = "force",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_forced),
     .help = "search although the corpus was made with another model or other settings; with "
             "--copy-to: replace files"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-search -c corpus.npy song.mid",
     "the 16 pieces nearest to song.mid, in any of 12 keys"},
    {"midisim-search -c corpus.npy --find song.mid",
     "first the pieces that share notes with it, then those that sound like it"},
    {"midisim-search -c corpus.npy -k 5 --json a.mid b.mid | jq '.matches[0].name'",
     "the best match of each, as JSON"},
    {"curl -s ADDRESS | midisim-search -c corpus.npy --transpose 0 -",
     "a piece from a pipe, in its own key"},
    {"midisim-search -c corpus.npy --like b/song.mid --exclude-self --threshold 0.95",
     "every row that is nearly the same as this one"},
    {"midisim-search -c corpus.npy --prepare",
     "write quantised rows, which make later searches faster"},
    {"midisim-search -c corpus.npy --whiten song.mid", "search whitened rows, which rank better"},
    {"midisim-search -c corpus.npy --copy-to found --midi-root music song.mid",
     "copy the matches' files to found/song"},
    {NULL, NULL}};

const ms_cli_tool ms_search_tool = {
    .name = "midisim-search",
    .purpose = "Finds the pieces of a corpus that are most like a MIDI file, in any key.",
    .summary = "find the MIDI files of a corpus that are most like a piece",
    .usage = "[-m MODEL] -c CORPUS [-k 16] [options] QUERY...\n"
             "-c CORPUS [-k 16] [options] --like NAME | --query-vectors FILE\n"
             "-c CORPUS --prepare [--cache DIR]",
    .description =
        "QUERY is a MIDI file, also a gzip-compressed one, or - for MIDI bytes on standard input. "
        "The query is tried in several keys, and for each row of CORPUS the best key "
        "counts. The search is exact: the same vectors give the same answer on every "
        "machine, device, kernel level and number of threads. Answers come in this "
        "order: MIDI files, --like, --query-vectors.\n\n"
        "If CORPUS.npy.json exists, it says which model and settings made the corpus: "
        "the query is treated alike, and another model is refused. The columns of TSV "
        "are query, rank (from 1), score, transpose (semitones of the best key), row "
        "(from 0) and name; tab, newline and backslash are written \\t, \\n and \\\\.\n\n"
        "With --find, notes are compared too. TSV then begins with a column kind, find or alike, "
        "and "
        "ends with the columns of midisim-find; a cell that a kind has not is empty. JSON objects "
        "also have notes, the notes of the query, and find, its matches as midisim-find gives "
        "them.\n\n"
        "In a corpus of windows (midisim-embed --windows) a match is a piece. A MIDI query is "
        "cut alike, and each match says which stretch of the query is like which stretch of the "
        "piece. --max-tokens N looks at the beginning of the query alone.",
    .examples = examples,
    .options = options,
    .uses_model = true,
};

ms_search_settings ms_search_settings_default(void) {
    return (ms_search_settings){.k = 16,
                                .transpose = 6,
                                .max_tokens = MSIM_TRAINED_TOKENS,
                                .prior_rows = MSIM_WHITENING_PRIOR_ROWS,
                                .evalue = 1e-3,
                                .pooling = -1,
                                .format = -1,
                                .pool_weights = MS_CLI_POOL_WEIGHTS_DEFAULT};
}

static bool is_given(const ms_search_settings *set, const char *name) {
    return ms_cli_given(&ms_search_tool, set, name);
}

static int check_output(ms_search_settings *set, msim_error *err) {
    if (set->is_json) {
        if (set->format >= 0 && set->format != MS_RESULTS_JSON)
            return ms_fail(err, MSIM_E_ARG,
                           "--json is --format json: leave out the other --format");
        set->format = MS_RESULTS_JSON;
    }
    if (set->format < 0)
        set->format = ms_cli_is_terminal(STDOUT_FILENO) ? MS_RESULTS_TABLE : MS_RESULTS_TSV;
    if (set->format == MS_RESULTS_MIDISIM && set->has_threshold)
        return ms_fail(
            err, MSIM_E_ARG,
            "--format midisim lists K matches in each key: give -k instead of --threshold");
    if (set->format == MS_RESULTS_MIDISIM && set->metric == MSIM_METRIC_IP)
        return ms_fail(err, MSIM_E_ARG, "--format midisim lists cosines: leave out --metric ip");
    int64_t most = MSIM_GPU_MAX_K - (set->excludes_self ? MS_SEARCH_EXTRA : 0);
    if (set->common.device == MSIM_DEVICE_CUDA && !set->has_threshold && set->k > most)
        return ms_fail(err, MSIM_E_ARG, "-k: expected at most %lld with --device cuda%s, got %lld",
                       (long long)most, set->excludes_self ? " and --exclude-self" : "",
                       (long long)set->k);
    if (set->keys && set->format == MS_RESULTS_MIDISIM)
        return ms_fail(err, MSIM_E_ARG,
                       "--format midisim lists every key: leave out --keys likely");
    if (set->has_threshold && is_given(set, "top"))
        return ms_fail(err, MSIM_E_ARG, "--threshold and -k cannot be combined: give one of them");
    return 0;
}

static int check_scan(const ms_search_settings *set, msim_error *err) {
    static const char *const names[] = {"auto", "f64", "f32", "bf16", "int8"};
    bool is_plain = set->scan == MSIM_SCAN_F64 || set->scan == MSIM_SCAN_F32;
    /* with --whiten, a cache also has rows that every scan reads */
    const char *wants = set->prepares                     ? "--prepare"
                        : set->cache && !set->is_whitened ? "--cache"
                                                          : NULL;
    if (set->verifies && !set->prepares)
        return ms_fail(err, MSIM_E_ARG, "--verify is for --prepare: give that too");
    if (wants && is_plain)
        return ms_fail(
            err, MSIM_E_ARG,
            "%s writes quantised rows, but --scan %s reads none: give --scan auto, bf16 or int8",
            wants, names[set->scan]);
    if (set->metric != MSIM_METRIC_IP) return 0;
    if (wants)
        return ms_fail(
            err, MSIM_E_ARG,
            "%s writes quantised rows, which serve the cosine alone: leave out --metric ip", wants);
    if (set->scan == MSIM_SCAN_BF16 || set->scan == MSIM_SCAN_INT8)
        return ms_fail(err, MSIM_E_ARG,
                       "--scan: expected auto, f64 or f32 with --metric ip, got %s",
                       names[set->scan]);
    return 0;
}

static int check_copying(const ms_search_settings *set, msim_error *err) {
    if (set->copy_to && set->midi_roots.n == 0)
        return ms_fail(err, MSIM_E_ARG,
                       "--copy-to: give --midi-root ROOT too, the folder with the corpus's files");
    if (!set->copy_to && !set->html && set->midi_roots.n)
        return ms_fail(err, MSIM_E_ARG,
                       "--midi-root is for --copy-to and --html: give one of them");
    if (set->html && set->format == MS_RESULTS_MIDISIM)
        return ms_fail(err, MSIM_E_ARG, "--html shows each match once: leave out --format midisim");
    if (!set->copy_to && set->omits_original)
        return ms_fail(err, MSIM_E_ARG, "--no-original is for --copy-to: give that too");
    return 0;
}

/* Without a query, only --prepare has something to do. */
static int check_queries(const ms_search_settings *set, msim_error *err) {
    static const char *const needing[] = {"top",          "threshold", "exclude", "exclude-from",
                                          "exclude-self", "copy-to",   "html"};
    size_t n_streams = 0;
    for (size_t i = 0; i < set->common.operands.n; i++)
        n_streams += strcmp(set->common.operands.items[i], "-") == 0;
    bool reads_names = set->excluded_from && strcmp(set->excluded_from, "-") == 0;
    if (n_streams + reads_names > 1)
        return ms_fail(err, MSIM_E_ARG, "-: standard input can be read once, not %zu times",
                       n_streams + reads_names);
    if (ms_search_has_queries(set)) return 0;
    if (!set->prepares)
        return ms_fail(
            err, MSIM_E_ARG,
            "no query: give a MIDI file, - for standard input, --like or --query-vectors");
    for (size_t i = 0; i < sizeof needing / sizeof *needing; i++)
        if (is_given(set, needing[i]))
            return ms_fail(err, MSIM_E_ARG,
                           "--%s needs a query: give a MIDI file, --like or --query-vectors",
                           needing[i]);
    return 0;
}

/* What is for notes needs --find, and --find needs notes. */
static int check_finding(const ms_search_settings *set, msim_error *err) {
    static const char *const needing[] = {"notes", "evalue", "same-key", "same-tempo"};
    for (size_t i = 0; i < sizeof needing / sizeof *needing && !ms_search_finds(set); i++)
        if (is_given(set, needing[i]))
            return ms_fail(err, MSIM_E_ARG, "--%s is for --find: give that too", needing[i]);
    if (set->finds && set->common.operands.n + set->likes.n == 0)
        return ms_fail(err, MSIM_E_ARG,
                       "--find compares notes: give a MIDI file, - for standard input, or --like");
    if (set->finds && set->format == MS_RESULTS_MIDISIM)
        return ms_fail(
            err, MSIM_E_ARG,
            "--format midisim has one list: give --format table, tsv or json for --find");
    if (set->evalue < 0)
        return ms_fail(err, MSIM_E_ARG, "--evalue: expected a number from 0 on, got %g",
                       set->evalue);
    return 0;
}

static int check_whitening(const ms_search_settings *set, msim_error *err) {
    if (set->is_whitened && set->metric == MSIM_METRIC_IP)
        return ms_fail(err, MSIM_E_ARG,
                       "--whiten gives rows of length 1, for the cosine: leave out --metric ip");
    if (!set->is_whitened && (set->prior_fit || is_given(set, "prior-rows")))
        return ms_fail(err, MSIM_E_ARG,
                       "--prior-fit, --prior-rows: these are for --whiten: give that too");
    return 0;
}

int ms_search_check_usage(ms_search_settings *set, msim_error *err) {
    set->has_threshold = is_given(set, "threshold");
    if (set->corpora.n == 0) return ms_fail(err, MSIM_E_ARG, "no corpus: give -c CORPUS");
    int rc = check_queries(set, err);
    if (rc >= 0) rc = check_output(set, err);
    if (rc >= 0) rc = check_scan(set, err);
    if (rc >= 0) rc = check_copying(set, err);
    if (rc >= 0) rc = check_whitening(set, err);
    if (rc >= 0) rc = check_finding(set, err);
    if (rc >= 0 && is_given(set, "pool-weights") && is_given(set, "pooling") && set->pooling != 1)
        rc = ms_fail(err, MSIM_E_ARG, "--pool-weights is for --pooling weighted, not mean");
    if (rc >= 0 && set->is_clean && set->is_unclean)
        rc = ms_fail(err, MSIM_E_ARG, "--clean and --no-clean are contrary: give one of them");
    return rc;
}
