/* midisim-tokens: MIDI files to token ids, one JSON object per line, in the order of the arguments;
 * or to their canonical form and its MD5 (tokens/canonical.c). */
#define _GNU_SOURCE
#include "common/cli.h"
#include "common/json.h"
#include "common/skips.h"
#include "common/watch.h"
#include "canonical.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    ms_cli_common common;
    int64_t transpose, max_tokens, center_pitch;
    int names, family, token_order;
    const char *files_from, *skipped, *normalized;
    bool is_nul_separated, has_md5, is_forced, is_clean, is_unclean;
} tokens_settings;

static const ms_cli_option options[] = {
    {.name = "transpose",
     .kind = MS_CLI_INT,
     .value = "N",
     .offset = offsetof(tokens_settings, transpose),
     .min = 0,
     .max = 6,
     .help = "0: print the piece as it is (default); 1..6: print it in 2N keys, moved by -N..N-1 "
             "semitones",
     .brief = "print each piece in 2N keys, N 1..6 (default 0: its own)"},
    MS_CLI_ROW_MAX_TOKENS(tokens_settings, (int64_t)1 << 40,
                          "keep the first N tokens of each sequence (default " MS_CLI_TOKENS
                          "; 0: all of them)"),
    {.name = "family",
     .kind = MS_CLI_CHOICE,
     .value = "midisim|midisimx",
     .choices = "midisim|midisimx",
     .offset = offsetof(tokens_settings, family),
     .help = "the family of models whose tokens are printed (default midisim). Lines of midisimx "
             "also have the members \"family\" and \"order\""},
    MS_CLI_ROW_TOKEN_ORDER(tokens_settings),
    MS_CLI_ROW_CLEAN(tokens_settings),
    MS_CLI_ROW_NO_CLEAN(tokens_settings),
    {.name = "center-pitch",
     .kind = MS_CLI_INT,
     .value = "P",
     .offset = offsetof(tokens_settings, center_pitch),
     .min = 0,
     .max = 127,
     .help = "midisimx: move every piece to the mean pitch P, 1..127 (default 0: leave it)"},
    MS_CLI_ROW_NAMES(tokens_settings, "what the member \"path\" holds"),
    MS_CLI_ROW_FILES_FROM(tokens_settings),
    MS_CLI_ROW_NULL(tokens_settings),
    MS_CLI_ROW_SKIPPED(tokens_settings),
    {.name = "md5",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(tokens_settings, has_md5),
     .help = "instead of tokens, print the MD5 of each file and of its canonical form; files that "
             "write the same music in different ways have the same canonical form",
     .brief = "print MD5s, which find copies, instead of tokens"},
    {.name = "normalize-midi",
     .kind = MS_CLI_TEXT,
     .value = "OUT",
     .offset = offsetof(tokens_settings, normalized),
     .help =
         "instead of printing tokens, write files in their canonical form. For one file, OUT is a "
         "file (-: standard output). Else OUT is a folder, in which each file gets its row "
         "name, or STEM_normalized.mid if that name is taken",
     .brief = "write files in their canonical form instead"},
    {.name = "force",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(tokens_settings, is_forced),
     .help = "with --normalize-midi: replace files that exist"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-tokens song.mid", "the tokens of one file, as one JSON object"},
    {"midisim-tokens --max-tokens 0 midi/ > tokens.jsonl",
     "all tokens of every file below a folder"},
    {"midisim-tokens --transpose 6 song.mid", "its twelve variants, 6 semitones down to 5 up"},
    {"midisim-tokens --family midisimx song.mid", "the tokens that models of midisimx read"},
    {"midisim-tokens --md5 midi/",
     "MD5s of every file, as it is and in canonical form, to find copies with"},
    {"midisim-tokens --normalize-midi canonical/ midi/",
     "every file in its canonical form, into another folder"},
    {"find . -name '*.mid' -print0 | midisim-tokens --files-from - -0",
     "files named by another program"},
    {0}};

static const ms_cli_tool tool = {
    .name = "midisim-tokens",
    .purpose = "Turns MIDI files into token ids, the numbers that the model reads, as JSON lines.",
    .summary = "turn MIDI files into the token ids of midisim",
    .usage =
        "[options] PATH...\n--md5 [--normalize-midi OUT] PATH...\n--normalize-midi OUT PATH...",
    .description =
        "Prints one JSON object for each sequence: {\"path\": ..., \"transpose\": 0, \"tokens\": "
        "[...]}. For a file that gives none, the object is {\"path\": ..., \"error\": "
        "REASON, \"detail\": ...}. PATH is a file, - for standard input, or a folder. In "
        "folders, .mid, .midi and .kar files are found at any depth, also "
        "gzip-compressed ones.",
    .examples = examples,
    .options = options,
    .has_no_kernels = true};

typedef struct {
    const tokens_settings *s;
    ms_cli_skips *skips; /* owned */
    ms_json_text line;   /* owned: one object */
    int64_t n_files, n_sequences, n_tokens;
} tokens_run;

static void put(ms_json_text *line, const char *text) { ms_json_put(line, text, strlen(text)); }

static void begin_object(tokens_run *r, const msim_walk_item *item) {
    r->line.n = 0;
    put(&r->line, "{\"path\":");
    ms_json_put_string(&r->line, item->name, item->name_bytes);
}

/* Of midisim's tokens nothing is said: their lines are older than the other family. */
static void put_family(tokens_run *r) {
    if (r->s->family == MSIM_FAMILY_MIDISIM) return;
    put(&r->line, ",\"family\":\"");
    put(&r->line, msim_family_name(r->s->family));
    put(&r->line, "\",\"order\":\"");
    put(&r->line, msim_token_order_name(r->s->token_order));
    put(&r->line, "\"");
}

static int end_object(tokens_run *r) {
    put(&r->line, "}\n");
    return ms_cli_write_json_text(&r->line);
}

/* Print what one file gave. < 0 when standard output takes no more. */
static int print_item(tokens_run *r, const msim_walk_item *item) {
    r->n_files++;
    if (item->reason != MSIM_SKIP_NONE) {
        ms_cli_skips_add(r->skips, item->path, item->reason, item->detail, item->is_failure);
        begin_object(r, item);
        put(&r->line, ",\"error\":");
        const char *reason = msim_skip_reason_name(item->reason);
        ms_json_put_string(&r->line, reason, strlen(reason));
        put(&r->line, ",\"detail\":");
        ms_json_put_string(&r->line, item->detail, strlen(item->detail));
        return end_object(r);
    }
    for (int64_t i = 0; i < item->n_sequences; i++) {
        size_t n = (size_t)(item->starts[i + 1] - item->starts[i]);
        begin_object(r, item);
        put_family(r);
        put(&r->line, ",\"transpose\":");
        ms_json_put_int(&r->line, i - r->s->transpose);
        put(&r->line, ",\"tokens\":");
        ms_json_put_ids(&r->line, item->ids + item->starts[i], n);
        r->n_sequences++;
        r->n_tokens += (int64_t)n;
        if (end_object(r) < 0) return -1;
    }
    return 0;
}

/* < 0 when reading failed, or to stop. */
static int print_all(tokens_run *r, msim_walk *walk, int64_t n_files, msim_error *err) {
    msim_walk_item item = {.size = sizeof item};
    bool is_writable = true;
    int rc = 0;
    while (is_writable && (rc = msim_walk_next(walk, &item, err)) > 0) {
        is_writable = print_item(r, &item) == 0;
        ms_cli_progress("files", r->n_files, n_files);
    }
    return rc < 0 ? rc : 0;
}

static void say_summary(const tokens_run *r, int64_t n_cut, double seconds) {
    char files[32], sequences[32], tokens[32], skipped[32], cut[32], limit[32], reasons[400];
    int64_t n_skipped = ms_cli_skips_total(r->skips);
    ms_cli_skips_describe(r->skips, reasons, sizeof reasons);
    ms_cli_note("%s file%s: %s sequence%s, %s token%s, %s skipped%s%s%s, %.2f s, %.0f files/s",
                ms_cli_count(files, r->n_files), ms_cli_plural(r->n_files),
                ms_cli_count(sequences, r->n_sequences), ms_cli_plural(r->n_sequences),
                ms_cli_count(tokens, r->n_tokens), ms_cli_plural(r->n_tokens),
                ms_cli_count(skipped, n_skipped), *reasons ? " (" : "", reasons,
                *reasons ? ")" : "", seconds, seconds > 0 ? (double)r->n_files / seconds : 0.0);
    if (n_cut)
        ms_cli_note("%s file%s longer than %s tokens, only the beginning is used",
                    ms_cli_count(cut, n_cut), ms_cli_plural(n_cut),
                    ms_cli_count(limit, r->s->max_tokens));
}

/* 1 for a folder, 0 for anything else and for nothing; < 0 when that cannot be said. */
static int is_folder(const char *path, msim_error *err) {
    struct stat st;
    if (stat(path, &st) == 0) return S_ISDIR(st.st_mode) != 0;
    return errno == ENOENT || errno == ENOTDIR
               ? 0
               : ms_fail_errno(err, errno, "cannot examine: %s", path);
}

/* 1 when OUT takes one file for each input, 0 when it is a file; or < 0. */
static int is_out_folder(const tokens_settings *s, msim_error *err) {
    size_t len = s->normalized ? strlen(s->normalized) : 0;
    const ms_cli_texts *paths = &s->common.operands;
    if (!len || strcmp(s->normalized, "-") == 0) return 0;
    if (paths->n != 1 || s->files_from || s->normalized[len - 1] == '/') return 1;
    int rc = is_folder(s->normalized, err);
    return rc == 0 && strcmp(paths->items[0], "-") != 0 ? is_folder(paths->items[0], err) : rc;
}

static msim_walk_options walk_options(const tokens_settings *s) {
    msim_walk_options o = ms_cli_walk_options();
    o.paths = s->common.operands.items;
    o.n_paths = s->common.operands.n;
    o.files_from = s->files_from;
    o.is_nul_separated = s->is_nul_separated;
    o.has_stream = 1;
    o.names = s->names;
    return o;
}

/* --md5 and --normalize-midi. */
static int run_normal(const tokens_settings *s) {
    ms_cli_skips *skips = NULL;
    msim_error err;
    msim_walk *walk = NULL;
    msim_walk_stats stats = {.size = sizeof stats};
    double began = ms_cli_now();
    int64_t n_done = 0;
    ms_canonical_request request = {.has_md5 = s->has_md5,
                                    .out = s->normalized,
                                    .is_stem = s->names == MSIM_NAMES_STEM,
                                    .is_forced = s->is_forced};
    const msim_walk_options wanted = walk_options(s);
    int rc = is_out_folder(s, &err);
    request.is_folder = rc > 0;
    if (rc >= 0) rc = ms_cli_skips_open(s->skipped, s->files_from, &skips, &err);
    if (rc >= 0) rc = msim_walk_open(&wanted, &walk, &err);
    request.walk = walk;
    request.skips = skips;
    if (rc >= 0) rc = ms_canonical_run(&request, &n_done, &err);
    if (walk) (void)msim_walk_get_stats(walk, &stats);
    if (rc < 0) {
        if (!ms_cli_stopped()) ms_cli_error("%s", err.text);
    } else {
        char done[32], all[32];
        ms_cli_note("%s of %s file%s normalised, %.2f s", ms_cli_count(done, n_done),
                    ms_cli_count(all, stats.files), ms_cli_plural(stats.files),
                    ms_cli_now() - began);
        if (n_done == 0 || n_done < stats.files || stats.empty_folders) rc = -MSIM_E_EMPTY;
    }
    if (ms_cli_skips_close(skips, &err) < 0) {
        ms_cli_error("%s", err.text);
        rc = -MSIM_E_IO;
    }
    msim_walk_close(walk);
    return rc;
}

static int check_canonical(const tokens_settings *s) {
    if (!s->has_md5 && !s->normalized)
        return s->is_forced ? ms_cli_usage("--force is for --normalize-midi: give that too") : 0;
    if (ms_cli_given(&tool, s, "transpose") || ms_cli_given(&tool, s, "max-tokens") ||
        ms_cli_given(&tool, s, "family"))
        return ms_cli_usage("%s prints no tokens: leave out --transpose, --max-tokens and --family",
                            s->has_md5 ? "--md5" : "--normalize-midi");
    if (!s->normalized || strcmp(s->normalized, "-") != 0) return 0;
    if (s->has_md5)
        return ms_cli_usage(
            "--normalize-midi - and --md5 both write to standard output: give a file instead of -");
    const ms_cli_texts *paths = &s->common.operands;
    if (paths->n != 1 || s->files_from || is_folder(paths->items[0], NULL) > 0)
        return ms_cli_usage(
            "--normalize-midi -: standard output takes one file: give one, or a folder as OUT");
    return 0;
}

static int check_tokens(const tokens_settings *s) {
    if (ms_cli_check_clean(s->is_clean, s->is_unclean) < 0) return -MSIM_E_ARG;
    if (s->family == MSIM_FAMILY_MIDISIM &&
        (ms_cli_given(&tool, s, "token-order") || s->is_clean || s->is_unclean || s->center_pitch))
        return ms_cli_usage("--token-order, --clean, --no-clean and --center-pitch are for "
                            "--family midisimx: give that too");
    return 0;
}

static int run_tool(const tokens_settings *s) {
    tokens_run r = {.s = s};
    msim_tokenizer_options tokens = msim_tokenizer_options_default();
    msim_error err;
    msim_walk *walk = NULL;
    msim_walk_stats stats = {.size = sizeof stats};
    msim_walk_options o = walk_options(s);
    double began = ms_cli_now();
    o.is_tokenized = 1;
    o.threads = ms_cli_threads(&s->common);
    o.transpose_factor = (int)s->transpose;
    o.max_tokens = s->max_tokens;
    tokens.family = s->family;
    tokens.token_order = s->token_order;
    tokens.is_unclean = s->is_unclean;
    tokens.center_pitch = (int)s->center_pitch;
    o.tokens = &tokens;
    int rc = ms_cli_skips_open(s->skipped, s->files_from, &r.skips, &err);
    if (rc >= 0) rc = msim_walk_open(&o, &walk, &err);
    if (rc >= 0) rc = msim_walk_get_stats(walk, &stats);
    if (rc < 0) goto failed;
    rc = print_all(&r, walk, stats.files, &err);
    ms_cli_progress_end();
    if (rc < 0 && rc != -MSIM_E_STOPPED) goto failed;
    (void)msim_walk_get_stats(walk, &stats);
    say_summary(&r, stats.cut, ms_cli_now() - began);
    rc = r.n_sequences == 0 || ms_cli_skips_failures(r.skips) || stats.empty_folders ? -MSIM_E_EMPTY
                                                                                     : 0;
    goto done;
failed:
    if (!ms_cli_stopped()) ms_cli_error("%s", err.text);
done:
    if (ms_cli_skips_close(r.skips, &err) < 0) {
        ms_cli_error("%s", err.text);
        rc = -MSIM_E_IO;
    }
    msim_walk_close(walk);
    ms_json_text_free(&r.line);
    return rc;
}

static int check_settings(const tokens_settings *s) {
    if (s->common.operands.n == 0 && !s->files_from)
        return ms_cli_usage("no input: give a PATH or --files-from");
    if (s->is_nul_separated && !s->files_from)
        return ms_cli_usage("-0 is for lists of files: give --files-from too");
    int rc = check_tokens(s);
    return rc < 0 ? rc : check_canonical(s);
}

int main(int argc, char **argv) {
    static tokens_settings s = {.max_tokens = MSIM_TRAINED_TOKENS};
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    if (rc == 0) rc = check_settings(&s);
    if (rc != 0) return ms_cli_finish(rc);
    ms_cli_catch_signals();
    return ms_cli_finish(s.has_md5 || s.normalized ? run_normal(&s) : run_tool(&s));
}
