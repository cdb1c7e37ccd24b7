/* midisim-embed: MIDI files to a corpus of vectors. Options, messages and exit codes; the work is a
 * job of the library. */
#define _GNU_SOURCE
#include "embed.h"
#include "beside.h"
#include "per_token.h"
#include "table.h"
#include "common/texts/output.h"
#include "common/ranks.h"
#include "common/skips.h"
#include "common/texts/numbers.h"
#include "common/watch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ms_cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = offsetof(ms_embed_settings, output),
     .help = "the corpus to write (.npy); FILE.json beside it says how it was made",
     .brief = "the corpus to write (.npy)"},
    MS_CLI_ROW_POOLING(ms_embed_settings, "mean"),
    MS_CLI_ROW_POOL_WEIGHTS(ms_embed_settings),
    MS_CLI_ROW_TOKEN_ORDER(ms_embed_settings),
    MS_CLI_ROW_CLEAN(ms_embed_settings),
    MS_CLI_ROW_NO_CLEAN(ms_embed_settings),
    {.name = "normalize",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_embed_settings, is_normalized),
     .help = "scale every vector to length 1",
     .brief = "scale every vector to length 1"},
    {.name = "transpose",
     .kind = MS_CLI_INT,
     .value = "S",
     .offset = offsetof(ms_embed_settings, transpose),
     .min = -12,
     .max = 12,
     .help = "move every piece by S semitones, -12..12 (default 0)"},
    MS_CLI_ROW_MAX_TOKENS(ms_embed_settings, (int64_t)1 << 30,
                          "use the first N tokens of each piece (default " MS_CLI_TOKENS
                          "; 0: all of them)"),
    {.name = "windows",
     .kind = MS_CLI_TEXT,
     .value = "N[/STEP]",
     .offset = offsetof(ms_embed_settings, windows),
     .help = "whole pieces: cut each piece between its notes into windows of at most N tokens, "
             "16..1048576, and write a row for each of them. The next window begins at most STEP "
             "tokens further (default N/2). Without --max-tokens all tokens of a piece are used",
     .brief = "whole pieces: a row for every N tokens of a piece"},
    {.name = "pool-windows",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_embed_settings, is_pooled),
     .help = "with --windows: one row for each piece again, the mean of the vectors of all its "
             "windows"},
    MS_CLI_ROW_NAMES(ms_embed_settings, "what rows are called"),
    MS_CLI_ROW_FILES_FROM(ms_embed_settings),
    MS_CLI_ROW_NULL(ms_embed_settings),
    {.name = "from-tokens",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = offsetof(ms_embed_settings, from_tokens),
     .help = "instead of MIDI files, embed the JSON lines that midisim-tokens printed; - reads "
             "standard input"},
    MS_CLI_ROW_SKIPPED(ms_embed_settings),
    {.name = "table",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = offsetof(ms_embed_settings, table),
     .help = "also write FILE, as TSV, one line for each input: path, tokens, cut or whole, "
             "seconds, notes, and why it was skipped. First those with rows, in the order of the "
             "rows. What is not known any more after a resume is \"-\""},
    {.name = "dtype",
     .kind = MS_CLI_CHOICE,
     .value = "f32|f16",
     .choices = "f32|f16",
     .offset = offsetof(ms_embed_settings, dtype),
     .help = "how the numbers of vectors are stored (default f32)"},
    MS_CLI_ROW_NAME_FIELD(ms_embed_settings),
    MS_CLI_ROW_VECTOR_FIELD(ms_embed_settings),
    {.name = "update",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_embed_settings, is_update),
     .help = "bring an existing corpus up to date: embed new and changed files, drop the rows of "
             "files that are gone, and keep the other rows",
     .brief = "bring an existing corpus up to date"},
    {.name = "notes",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_embed_settings, has_notes),
     .help = "also write CORPUS.notes, the note index that midisim-find searches: the bytes are "
             "those of midisim-index, and each file is read once. What an earlier run or an "
             "existing corpus was made of without --notes is read again, not embedded again",
     .brief = "also write CORPUS.notes for midisim-find"},
    {.name = "force",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_embed_settings, is_forced),
     .help = "replace an existing corpus; or go on with an unfinished run, or an --update, on "
             "another device or kernel level",
     .brief = "replace an existing corpus"},
    {.name = "shard",
     .kind = MS_CLI_TEXT,
     .value = "I/N",
     .offset = offsetof(ms_embed_settings, shard),
     .help = "embed only part I of N, counted from 1. The relative path of a file decides its "
             "part; midisim-convert --merge joins the parts"},
    {.name = "per-token",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .offset = offsetof(ms_embed_settings, per_token),
     .help = "write the vectors of every token, before pooling: for each piece DIR/NAME.npy, f32 "
             "[tokens, width]. Without -o no corpus is written. Files that exist and are whole are "
             "kept"},
    {.name = "keep-journal",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_embed_settings, is_journal_kept),
     .help = "keep CORPUS.npy.journal, which says what each file gave, after the corpus is "
             "complete"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-embed -o corpus.npy midi/", "embed every MIDI file below midi/"},
    {"midisim-embed -m my.safetensors --normalize -o corpus.npy a.mid b.mid.gz",
     "two files, another model, unit vectors"},
    {"find . -name '*.mid' -print0 | midisim-embed -o corpus.npy --files-from - -0",
     "files named by another program"},
    {"midisim-embed -o corpus.npy --skipped skipped.tsv midi/",
     "also list the files that gave nothing, and why"},
    {"midisim-embed --notes -o corpus.npy midi/",
     "vectors and, in corpus.notes, notes: for \"sounds like\" and for \"is\""},
    {"midisim-embed --update -o corpus.npy midi/", "again after files came, changed or went"},
    {"midisim-embed --per-token vectors/ midi/",
     "token by token: one file for each piece, no corpus"},
    {"midisim-embed --windows 1024 -o corpus.npy midi/",
     "all of every piece, not its beginning alone: a row for each stretch of 1,024 tokens"},
    {"midisim-embed --shard 3/16 -o part-3.npy midi/", "the third of 16 jobs"},
    {0}};

static const ms_cli_tool tool = {
    .name = "midisim-embed",
    .purpose =
        "Turns MIDI files into a corpus: one file with the name and the vector of each of them.",
    .summary = "turn MIDI files into a corpus of embedding vectors",
    .usage =
        "[-m MODEL] -o CORPUS.npy [options] PATH...\n[-m MODEL] --per-token DIR [options] PATH...",
    .description =
        "Writes one row for each MIDI file, its name and its vector, as a structured .npy that "
        "NumPy maps. PATH is a file or a folder. In folders, .mid, .midi and .kar files are found "
        "at any depth, also gzip-compressed ones. Rows are in bytewise order of name, and files of "
        "the same content are embedded once.\n\n"
        "After an interruption of any kind, run the same command again: it goes on where it was. "
        "FILE.journal holds what is finished; at most some seconds of work are lost.\n\n"
        "A complete corpus that was made from the same files with the same settings is left as it "
        "is, with exit code 0. Any other existing file is refused without --update or --force.\n\n"
        "With --windows a piece has several rows, which follow each other and have its name. "
        "FILE.json says which tokens and which seconds of the piece each row is. midisim-search "
        "then finds pieces, says where in them the match is, and cuts a long query alike.",
    .examples = examples,
    .options = options,
    .uses_model = true};

/* "1024" or "1024/512". */
static bool parse_windows(ms_embed_settings *s) {
    const char *step;
    return ms_cli_first_int(s->windows, '/', 16, (int64_t)1 << 20, &s->window_tokens, &step) &&
           (!step || ms_cli_int(step, 1, s->window_tokens, &s->window_step));
}

static int check_windows(ms_embed_settings *s) {
    if (s->is_pooled && !s->windows)
        return ms_cli_usage("--pool-windows is for --windows: give that too");
    if (!s->windows) return 0;
    if (s->from_tokens)
        return ms_cli_usage("--windows is for MIDI files, whose notes have times: leave it out "
                            "with --from-tokens");
    if (!parse_windows(s))
        return ms_cli_usage("--windows: expected N or N/STEP with N in 16..1048576 and STEP in "
                            "1..N, got %.80s",
                            s->windows);
    if (s->per_token)
        return ms_cli_usage("--per-token is about single tokens: leave out --windows");
    if (!ms_cli_given(&tool, s, "max-tokens")) s->max_tokens = 0;
    return 0;
}

/* Options that are about a corpus, and inputs that can be read once alone. */
static int check_per_token(const ms_embed_settings *s) {
    static const char *const of_a_corpus[] = {
        "pooling",      "pool-weights", "normalize",    "dtype", "name-field",
        "vector-field", "update",       "keep-journal", "table", "notes"};
    for (size_t i = 0; !s->output && i < sizeof of_a_corpus / sizeof *of_a_corpus; i++)
        if (ms_cli_given(&tool, s, of_a_corpus[i]))
            return ms_cli_usage("--%s is about a corpus: give -o CORPUS.npy too", of_a_corpus[i]);
    const char *stream = s->from_tokens ? s->from_tokens : s->files_from;
    if (s->output && s->per_token && stream && strcmp(stream, "-") == 0)
        return ms_cli_usage("--per-token and -o cannot both read standard input: run one after the "
                            "other, on a file");
    return 0;
}

static int check_settings(ms_embed_settings *s) {
    if (s->common.operands.n == 0 && !s->files_from && !s->from_tokens)
        return ms_cli_usage("no input: give a PATH, --files-from or --from-tokens");
    if (!s->output && !s->per_token)
        return ms_cli_usage("no output: give -o CORPUS.npy or --per-token DIR");
    if (s->output && strcmp(s->output, "-") == 0)
        return ms_cli_usage("-o -: a corpus cannot go to standard output: give a file name");
    if (s->is_nul_separated && !s->files_from)
        return ms_cli_usage("-0 is for lists of files: give --files-from too");
    if (s->from_tokens && (s->common.operands.n || s->files_from))
        return ms_cli_usage("--from-tokens replaces MIDI files: leave out PATH and --files-from");
    if (ms_ranks_count() > 1 && (s->from_tokens || s->per_token))
        return ms_cli_usage(
            "%s works in a single process, not on %d ranks: start it without mpirun",
            s->from_tokens ? "--from-tokens" : "--per-token", ms_ranks_count());
    if (s->from_tokens && s->has_notes)
        return ms_cli_usage("--notes is for MIDI files: leave it out with --from-tokens");
    if (s->from_tokens && s->transpose)
        return ms_cli_usage("--transpose is for MIDI files: leave it out with --from-tokens");
    if (s->from_tokens && s->names == MSIM_NAMES_STEM)
        return ms_cli_usage("--names: expected path with --from-tokens, got stem");
    if (s->shard && s->from_tokens)
        return ms_cli_usage("--shard is for MIDI files: leave it out with --from-tokens");
    if (ms_cli_shard(s->shard, &s->shard_index, &s->n_shards) < 0) return -MSIM_E_ARG;
    if (ms_cli_given(&tool, s, "pool-weights") && !s->pooling)
        return ms_cli_usage("--pool-weights is for --pooling weighted: give that too");
    int rc = ms_cli_check_clean(s->is_clean, s->is_unclean);
    if (rc == 0) rc = check_windows(s);
    if (rc == 0) rc = check_per_token(s);
    return rc ? rc : ms_embed_name_index(s);
}

/* ---- What is said ---- */

static void say_count(int64_t n, const char *one, const char *more) {
    char count[32];
    if (n > 0) ms_cli_note("%s %s", ms_cli_count(count, n), n == 1 ? one : more);
}

typedef struct {
    const ms_embed_settings *s;
    msim_options options;
    msim_job *job;        /* owned */
    ms_cli_skips *skips;  /* owned: rank 0's */
    msim_job_stats stats; /* as they were last looked at */
    double began;
} embedding;

static void look(embedding *e) {
    e->stats.size = sizeof e->stats;
    (void)msim_job_get_stats(e->job, &e->stats);
}

static void say_inputs(const embedding *e) {
    char files[32], rows[32], skipped[32], count[32], pieces[48] = "", reasons[400];
    const msim_job_stats *t = &e->stats;
    ms_cli_skips_describe(e->skips, reasons, sizeof reasons);
    if (t->pieces != t->rows)
        snprintf(pieces, sizeof pieces, " of %s pieces", ms_cli_count(count, t->pieces));
    ms_cli_note("%s %s%s: %s row%s%s, %s skipped%s%s%s", ms_cli_count(files, t->files),
                t->is_of_lines ? "line" : "file", ms_cli_plural(t->files),
                ms_cli_count(rows, t->rows), ms_cli_plural(t->rows), pieces,
                ms_cli_count(skipped, t->skips), *reasons ? " (" : "", reasons,
                *reasons ? ")" : "");
    say_count(t->done_before, "file was done by an earlier run",
              "files were done by an earlier run");
    if (t->is_updating) {
        say_count(t->kept, "file is as it was in the corpus",
                  "files are as they were in the corpus");
        say_count(t->dropped, "row was dropped, whose file is not there any more",
                  "rows were dropped, whose files are not there any more");
    }
    say_count(t->shared, "file has the same content as another, and was not embedded again",
              "files have the same content as another, and were embedded once");
    if (t->cut)
        ms_cli_note("%s file%s longer than %s tokens, only the beginning is used",
                    ms_cli_count(files, t->cut), ms_cli_plural(t->cut),
                    ms_cli_count(rows, e->s->max_tokens));
}

static void say_speed(const embedding *e) {
    char tokens[32], rate[32], ranks[32] = "", level[32] = "", device[MS_CLI_DEVICE_BYTES];
    const msim_job_stats *t = &e->stats;
    double seconds = ms_cli_now() - e->began;
    if (ms_ranks_count() > 1) snprintf(ranks, sizeof ranks, "%d ranks of ", ms_ranks_count());
    ms_cli_device_words(device, t->device, e->options.gpu);
    if (t->device != MSIM_DEVICE_CUDA)
        snprintf(level, sizeof level, "level %s, ", msim_isa_name(t->isa));
    ms_cli_note("%s tokens in %.2f s: %.1f files/s, %s tokens/s; device %s, %s%s, %s%d threads",
                ms_cli_count(tokens, t->tokens), seconds,
                (double)(t->is_of_lines ? t->files : t->read) / seconds,
                ms_cli_count(rate, (int64_t)((double)t->tokens / seconds)), device, level,
                msim_precision_name(t->precision), ranks, e->options.threads);
}

/* Not all of it was done: say what is kept. */
static void say_unfinished(const embedding *e) {
    char done[32], all[32];
    const char *output = e->s->output;
    if (ms_ranks_count() > 1)
        ms_cli_warning("not complete: what was finished is kept in %s.journal and, of other ranks, "
                       "in %s.rank-*.journal; run the same command again to go on, with any number "
                       "of ranks",
                       output, output);
    else if (!e->stats.has_input)
        return;
    else if (e->stats.is_of_lines)
        ms_cli_warning("not complete: what was finished is kept in %s.journal; run the same "
                       "command again to go on",
                       output);
    else
        ms_cli_warning("not complete: %s of %s files are done and kept in %s.journal; run the same "
                       "command again to go on",
                       ms_cli_count(done, e->stats.done), ms_cli_count(all, e->stats.files),
                       output);
}

/* Every input that gave nothing. */
static void say_skips(embedding *e) {
    msim_skip skip = {.size = sizeof skip};
    look(e);
    if (!e->skips) return;
    for (int64_t i = ms_cli_skips_total(e->skips); i < e->stats.skips; i++)
        if (msim_job_get_skip(e->job, i, &skip) >= 0)
            ms_cli_skips_add(e->skips, skip.path, skip.reason, skip.detail, skip.is_failure);
}

/* ---- The job ---- */

static msim_job_options job_options(const embedding *e, const char *model) {
    const ms_embed_settings *s = e->s;
    msim_job_options o = msim_job_options_default();
    o.output = s->output;
    o.paths = s->common.operands.items;
    o.n_paths = s->common.operands.n;
    o.files_from = s->files_from;
    o.is_nul_separated = s->is_nul_separated;
    o.from_tokens = s->from_tokens;
    o.names = s->names;
    o.shard = s->shard_index;
    o.n_shards = s->n_shards;
    o.transpose = (int)s->transpose;
    o.max_tokens = s->max_tokens;
    o.window_tokens = s->window_tokens;
    o.window_step = s->window_step;
    o.is_pooled = s->is_pooled;
    o.class_weights = s->pooling == 1 ? s->pool_weights : NULL;
    o.n_class_weights =
        ms_cli_n_pool_weights(s->pool_weights, ms_cli_given(&tool, s, "pool-weights"));
    o.is_l2_normalized = s->is_normalized;
    o.dtype = s->dtype ? MSIM_DTYPE_F16 : MSIM_DTYPE_F32;
    o.name_field = s->name_field;
    o.vector_field = s->vector_field;
    o.is_update = s->is_update;
    o.is_forced = s->is_forced;
    o.is_journal_kept = s->is_journal_kept;
    o.is_detailed = s->table != NULL;
    o.notes = s->has_notes ? s->index : NULL;
    o.model_path = model;
    o.options = &e->options;
    o.progress = ms_cli_job_progress;
    o.message = ms_cli_job_message;
    o.ranks = ms_ranks_table();
    return o;
}

/* The table that was asked for. */
static int write_table(const embedding *e) {
    msim_error err;
    int rc = e->s->table ? ms_embed_table_write(e->s->table, e->job, &err) : 0;
    if (rc < 0) ms_cli_error("%s", err.text);
    return rc;
}

/* What a finished job came to. */
static int say_result(embedding *e, int result, const msim_error *err) {
    look(e);
    say_inputs(e);
    say_speed(e);
    if (result == -MSIM_E_EMPTY)
        ms_cli_error("%s", err->text);
    else
        ms_embed_say_written(e->s, &e->stats);
    if (e->stats.unread)
        ms_cli_note("%lld file%s could not be read: the same command tries again",
                    (long long)e->stats.unread, ms_cli_plural(e->stats.unread));
    if (write_table(e) < 0) return -MSIM_E_IO;
    if (result < 0) return result;
    return e->stats.failures || e->stats.empty_folders ? -MSIM_E_EMPTY : 0;
}

/* The job failed or was stopped. */
static void say_failure(embedding *e, msim_error *err) {
    if (!ms_cli_stopped()) {
        ms_cli_error("%s", err->text);
        int64_t rows = msim_job_write_finished(e->job, err);
        ms_cli_progress_end();
        say_skips(e);
        if (rows < 0) ms_cli_error("%s", err->text);
        if (rows > 0) {
            say_inputs(e);
            say_speed(e);
            ms_cli_warning("%s holds the rows that were finished", e->s->output);
        }
    }
    say_unfinished(e);
}

/* The skip report is opened when there is something to do: an old one stays otherwise. */
static int open_skips(embedding *e, msim_error *err) {
    look(e);
    bool is_wanted = ms_ranks_index() == 0 && e->stats.has_work;
    int rc = is_wanted ? ms_cli_skips_open(e->s->skipped, e->s->files_from, &e->skips, err) : 0;
    return ms_ranks_agree(rc, err);
}

/* Nothing was done, for what failed would fail again: said each time, so that a script that looks
 * at the exit code is told, and one that repeats the command does so in vain. */
static int say_failed_before(embedding *e) {
    char count[32];
    look(e);
    if (e->stats.failed == 0) return 0;
    ms_cli_error("%s input%s gave no row and will not when %s tried again; --skipped FILE with "
                 "--force lists them",
                 ms_cli_count(count, e->stats.failed), ms_cli_plural(e->stats.failed),
                 e->stats.failed == 1 ? "it is" : "they are");
    return -MSIM_E_EMPTY;
}

static int run_job(embedding *e, msim_error *err) {
    int rc = open_skips(e, err);
    if (rc < 0) {
        ms_cli_error("%s", err->text);
        return rc;
    }
    int result = msim_job_run(e->job, err);
    ms_cli_progress_end();
    if (result == MSIM_JOB_NOTHING_TO_DO) {
        ms_cli_note(
            "%s is complete and was made with the same settings from the same files: nothing to do",
            e->s->output);
        if (e->s->table)
            ms_cli_warning("%s was not written, for nothing was done; with --force it is",
                           e->s->table);
        return say_failed_before(e);
    }
    if (result == MSIM_JOB_OF_RANK_0) return 0;
    say_skips(e);
    if (result >= 0 || result == -MSIM_E_EMPTY) return say_result(e, result, err);
    say_failure(e, err);
    return ms_cli_as_failure(result);
}

static int run_tool(const ms_embed_settings *s) {
    embedding e = {.s = s, .options = ms_cli_library_options(&s->common), .began = ms_cli_now()};
    char model[4096];
    msim_error err = {0};
    e.options.token_order = s->token_order;
    e.options.is_unclean = s->is_unclean;
    int rc = ms_cli_check_output(s->table, s->files_from, &err);
    if (rc >= 0) rc = ms_cli_model_path(&s->common, model, sizeof model, &err);
    rc = ms_ranks_agree(rc, &err);
    msim_job_options wanted = job_options(&e, model);
    if (rc >= 0) rc = msim_job_open(&wanted, &e.job, &err);
    ms_cli_progress_end();
    if (rc >= 0)
        rc = run_job(&e, &err);
    else if (!ms_cli_stopped())
        ms_cli_error("%s", err.text);
    if (ms_cli_skips_close(e.skips, &err) < 0) {
        ms_cli_error("%s", err.text);
        rc = -MSIM_E_IO;
    }
    msim_job_close(e.job);
    return rc;
}

int main(int argc, char **argv) {
    static ms_embed_settings s = {.max_tokens = MSIM_TRAINED_TOKENS,
                                  .pool_weights = MS_CLI_POOL_WEIGHTS_DEFAULT};
    ms_ranks_begin(&argc, &argv);
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    if (rc == 0) rc = check_settings(&s);
    if (rc != 0) return ms_ranks_end(ms_cli_finish(rc));
    ms_cli_catch_signals();
    if (s.output) rc = run_tool(&s);
    if (s.per_token && !ms_cli_stopped() && rc != -MSIM_E_ARG && rc != -MSIM_E_UNSUPPORTED) {
        int second = ms_per_token_run(&s);
        rc = second < 0 ? second : rc;
    }
    return ms_ranks_end(ms_cli_finish(rc));
}
