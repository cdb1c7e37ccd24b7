/* midisim-embed: MIDI files to a corpus of vectors. Files are read and tokenised on all cores while the encoder runs;
 * rows are written in order of name. */
#define _GNU_SOURCE
#include "cli.h"
#include "embedder.h"
#include "files.h"
#include "output.h"
#include "reader.h"
#include "sidecar.h"
#include "token_lines.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ms_cli_common common;
    const char *output, *files_from, *from_tokens, *skipped, *name_field, *vector_field;
    int pooling, names, dtype;
    float pool_weights[3];
    int64_t transpose, max_tokens;
    bool is_normalized, is_nul_separated, is_forced;
} settings;

static const ms_cli_option options[] = {
    {.name = "output", .letter = 'o', .kind = MS_CLI_TEXT, .value = "FILE", .offset = offsetof(settings, output),
     .help = "the corpus to write (.npy); FILE.json beside it says what it was made with"},
    {.name = "pooling", .kind = MS_CLI_CHOICE, .value = "mean|weighted", .choices = "mean|weighted",
     .offset = offsetof(settings, pooling), .help = "how token vectors become one: their mean (default), or weighted"},
    {.name = "pool-weights", .kind = MS_CLI_REALS, .value = "ON,DUR,PITCH", .offset = offsetof(settings, pool_weights),
     .max = 3, .help = "weights of start-time, duration and pitch tokens, with --pooling weighted (default 1,1,1)"},
    {.name = "normalize", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_normalized),
     .help = "scale every vector to length 1"},
    {.name = "transpose", .kind = MS_CLI_INT, .value = "S", .offset = offsetof(settings, transpose), .min = -12, .max = 12,
     .help = "move every piece by S semitones, -12..12 (default 0)"},
    {.name = "max-tokens", .kind = MS_CLI_INT, .value = "N", .offset = offsetof(settings, max_tokens), .min = 0,
     .max = (int64_t)1 << 30, .help = "use the first N tokens of each piece (default 3072; 0: no limit)"},
    {.name = "names", .kind = MS_CLI_CHOICE, .value = "path|stem", .choices = "path|stem",
     .offset = offsetof(settings, names),
     .help = "row names: the path, relative to the folder when one PATH is given (default), or the base name without "
             "extension"},
    {.name = "files-from", .kind = MS_CLI_TEXT, .value = "FILE", .offset = offsetof(settings, files_from),
     .help = "read more paths from FILE, one a line; -: standard input"},
    {.name = "null", .letter = '0', .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_nul_separated),
     .help = "paths of --files-from end in NUL instead of a newline"},
    {.name = "from-tokens", .kind = MS_CLI_TEXT, .value = "FILE", .offset = offsetof(settings, from_tokens),
     .help = "instead of MIDI files, embed the JSON lines that midisim-tokens printed; -: standard input"},
    {.name = "skipped", .kind = MS_CLI_TEXT, .value = "FILE", .offset = offsetof(settings, skipped),
     .help = "write path, reason and detail of every file that gave no row to FILE (TSV)"},
    {.name = "dtype", .kind = MS_CLI_CHOICE, .value = "f32|f16", .choices = "f32|f16", .offset = offsetof(settings, dtype),
     .help = "how vectors are stored (default f32)"},
    {.name = "name-field", .kind = MS_CLI_TEXT, .value = "NAME", .offset = offsetof(settings, name_field),
     .help = "field of the names in the .npy (default midi_names)"},
    {.name = "vector-field", .kind = MS_CLI_TEXT, .value = "NAME", .offset = offsetof(settings, vector_field),
     .help = "field of the vectors (default midi_embeddings)"},
    {.name = "force", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_forced), .help = "replace an existing corpus"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-embed -o corpus.npy midi/", "embed every MIDI file below midi/"},
    {"midisim-embed -m my.safetensors --normalize -o corpus.npy a.mid b.mid.gz", "two files, another model, unit vectors"},
    {"find . -name '*.mid' -print0 | midisim-embed -o corpus.npy --files-from - -0", "files named by another program"},
    {"midisim-embed -o corpus.npy --skipped skipped.tsv midi/", "also list the files that gave nothing, and why"},
    {0}};

static const ms_cli_tool tool = {
    .name = "midisim-embed",
    .summary = "turn MIDI files into a corpus of embedding vectors",
    .usage = "[-m MODEL] -o CORPUS.npy [options] PATH...",
    .description =
        "Writes one row for each MIDI file: its name and its vector, as a structured .npy that NumPy maps. PATH is a file "
        "or a folder, in which .mid, .midi and .kar files, also gzip-compressed, are found at any depth. Rows are in "
        "bytewise order of name.\n\n"
        "An existing corpus that is complete and was made with the same settings from the same files is left as it is, "
        "with exit code 0; any other one is refused without --force. After a signal the rows finished so far are "
        "written, and the description beside them says that they are not complete.",
    .examples = examples,
    .options = options,
    .uses_model = true};

typedef struct {
    const settings *s;
    ms_output output;
    ms_sidecar sidecar;
    ms_files_list files;       /* owned */
    ms_files_skips *skips;     /* owned */
    msim_model *model;         /* owned */
    msim_options options;
    ms_reader *reader;         /* owned: MIDI files, or */
    ms_token_lines *lines;     /* owned: token lines */
    ms_rows_made made;         /* owned */
    ms_embedder_stats stats;
    int64_t n_files, n_cut;    /* files taken; longer than max_tokens */
    double began;
} run;

/* ---- Sequences from files ---- */

static int next_from_files(void *source, bool may_wait, ms_sequence *out) {
    run *r = source;
    ms_reader_item item;
    for (;;) {
        int state = ms_reader_next(r->reader, may_wait, &item);
        if (state != MS_READER_ITEM) return state;
        r->n_files++;
        if (item.reason == MS_FILES_OK) break;
        ms_files_skips_add(r->skips, item.entry->path, item.reason, item.detail, item.entry->is_named);
        ms_reader_item_free(&item);
    }
    if (r->s->max_tokens && item.full_length > r->s->max_tokens) r->n_cut++;
    *out = (ms_sequence){.name = item.entry->path + item.entry->name_at, .name_len = item.entry->name_len,
                         .ids = item.ids, .n_ids = item.starts[1]};
    item.ids = NULL;
    ms_reader_item_free(&item);
    return MS_READER_ITEM;
}

static int64_t files_done(const void *source) { return ((const run *)source)->n_files; }

/* ---- Steps ---- */

static int check_settings(const settings *s) {
    if (s->common.operands.n == 0 && !s->files_from && !s->from_tokens)
        return ms_cli_usage("no input: expected PATH, --files-from or --from-tokens, got none");
    if (!s->output) return ms_cli_usage("no output: expected -o CORPUS.npy, got none");
    if (strcmp(s->output, "-") == 0) return ms_cli_usage("-o: expected a file name, got -");
    if (s->is_nul_separated && !s->files_from) return ms_cli_usage("-0: expected --files-from with it, got none");
    if (s->from_tokens && (s->common.operands.n || s->files_from))
        return ms_cli_usage("--from-tokens: expected no PATH and no --files-from with it, got both");
    if (s->from_tokens && s->transpose) return ms_cli_usage("--transpose: expected MIDI files, got --from-tokens");
    if (s->from_tokens && s->names == MS_FILES_NAMES_STEM)
        return ms_cli_usage("--names: expected path with --from-tokens, got stem");
    if (ms_cli_given(&tool, s, "pool-weights") && !s->pooling)
        return ms_cli_usage("--pool-weights: expected --pooling weighted with it, got mean");
    return -1;
}

static void describe(run *r) {
    const settings *s = r->s;
    msim_info info;
    msim_model_info(r->model, &info);
    ms_sidecar *d = &r->sidecar;
    *d = (ms_sidecar){.tool = "midisim-embed", .is_weighted = s->pooling == 1, .max_tokens = s->max_tokens,
                      .is_normalized = s->is_normalized, .transpose = s->transpose, .files = (int64_t)r->files.n};
    memcpy(d->pool_weights, s->pool_weights, sizeof d->pool_weights);
    snprintf(d->version, sizeof d->version, "%s", msim_version());
    snprintf(d->dtype, sizeof d->dtype, "%s", s->dtype ? "f16" : "f32");
    snprintf(d->names, sizeof d->names, "%s", s->names == MS_FILES_NAMES_STEM ? "stem" : "path");
    ms_sidecar_set_model(d, &info);
}

/* Everything before the work: output, inputs, model. 1 when an existing corpus already is the result. */
static int prepare(run *r, msim_error *err) {
    const settings *s = r->s;
    char model_path[4096];
    bool exists;
    int rc = ms_output_check(&r->output, &exists, err);
    if (rc < 0) return rc;
    if (!ms_cli_find_model(&s->common, model_path, sizeof model_path))
        return ms_cli_fail(err, MSIM_E_IO, "%s", ""); /* said already */
    rc = msim_model_open(model_path, &r->options, &r->model, err);
    if (rc < 0) return rc;
    if (!s->from_tokens) {
        ms_files_request request = {.paths = &s->common.operands, .files_from = s->files_from,
                                    .is_nul_separated = s->is_nul_separated, .names = s->names};
        rc = ms_files_list_open(&request, &r->files, err);
        if (rc < 0) return rc;
    }
    describe(r);
    if (exists && !s->is_forced) {
        if (s->from_tokens)
            return ms_cli_fail(err, MSIM_E_ARG, "exists already: %.300s: --force replaces it", s->output);
        return ms_output_verify(&r->output, &r->sidecar, &r->files, err);
    }
    return ms_files_skips_open(s->skipped, &r->skips, err);
}

static int embed(run *r, msim_error *err) {
    const settings *s = r->s;
    msim_info info;
    msim_model_info(r->model, &info);
    ms_sequences sequences = {.next = next_from_files, .source = r, .n_done = files_done,
                              .n_all = (int64_t)r->files.n};
    int rc;
    if (s->from_tokens) {
        rc = ms_token_lines_open(s->from_tokens, info.vocab, s->max_tokens, r->skips, &r->lines, err);
        sequences = (ms_sequences){.next = ms_token_lines_next, .source = r->lines, .n_done = ms_token_lines_done,
                                   .n_all = -1};
    } else {
        ms_reader_request wanted = {.files = &r->files, .threads = r->options.threads, .is_shifted = true,
                                    .semitones = (int)s->transpose, .max_tokens = s->max_tokens,
                                    .is_background = true};
        rc = ms_reader_open(&wanted, &r->reader, err);
    }
    if (rc < 0) return rc;
    ms_embedder_request request = {.model = r->model, .options = r->options, .longest = s->max_tokens < 16384 ? s->max_tokens : 0,
                                   .type_weights = s->pooling ? s->pool_weights : NULL,
                                   .is_normalized = s->is_normalized};
    rc = ms_embedder_run(&request, &sequences, &r->made, &r->stats, err);
    if (r->lines) {
        r->n_files = ms_token_lines_done(r->lines);
        r->n_cut = ms_token_lines_cut(r->lines);
    }
    return rc;
}

static int write_corpus(run *r, bool is_complete, msim_error *err) {
    size_t n_same = ms_rows_made_sort(&r->made);
    if (n_same) {
        char count[32];
        ms_cli_warning("%s rows have the same name as another row; all are kept", ms_cli_count(count, (int64_t)n_same));
    }
    r->sidecar.rows = (int64_t)r->made.n;
    if (r->lines) r->sidecar.files = r->n_files;
    r->sidecar.is_complete = is_complete;
    return ms_output_write(&r->output, &r->made, &r->sidecar, err);
}

static void say_summary(const run *r) {
    char files[32], rows[32], skipped[32], tokens[32], limit[32], reasons[400];
    double seconds = ms_cli_now() - r->began;
    ms_files_skips_describe(r->skips, reasons, sizeof reasons);
    ms_cli_note("%s %s: %s rows, %s skipped%s%s%s", ms_cli_count(files, r->n_files), r->lines ? "lines" : "files",
                ms_cli_count(rows, (int64_t)r->made.n), ms_cli_count(skipped, ms_files_skips_total(r->skips)),
                *reasons ? " (" : "", reasons, *reasons ? ")" : "");
    if (r->n_cut)
        ms_cli_note("%s files longer than %s tokens, only their beginning is used", ms_cli_count(files, r->n_cut),
                    ms_cli_count(limit, r->s->max_tokens));
    ms_cli_note("%s tokens in %.2f s: %.1f files/s, %s tokens/s; device %s, level %s, %s, %d threads",
                ms_cli_count(tokens, r->stats.n_tokens), seconds, (double)r->n_files / seconds,
                ms_cli_count(limit, (int64_t)((double)r->stats.n_tokens / seconds)), r->sidecar.device,
                r->sidecar.level, r->sidecar.precision, r->options.threads);
}

/* What the run came to: the corpus written if there are rows, the summary, the exit code. */
static int finish(run *r, int rc, msim_error *err) {
    bool was_stopped = ms_cli_stopped() != 0, failed = rc < 0 && !was_stopped;
    if (failed) ms_cli_error("%s", err->text);
    if (r->made.n == 0) {
        if (!was_stopped) {
            say_summary(r);
            ms_cli_error("no rows: %s: expected at least one file with notes, got none; nothing was written", r->s->output);
        }
        return MS_EXIT_FAILED;
    }
    bool is_complete = !failed && !was_stopped;
    if (write_corpus(r, is_complete, err) < 0) {
        ms_cli_error("%s", err->text);
        return MS_EXIT_FAILED;
    }
    say_summary(r);
    ms_cli_note("wrote %s", r->s->output);
    if (!is_complete)
        ms_cli_warning("%s: not complete: it holds the %zu rows that were finished; run again with --force to make all "
                       "of it", r->s->output, r->made.n);
    return failed || ms_files_skips_failures(r->skips) || r->files.n_empty_folders ? MS_EXIT_FAILED : MS_EXIT_OK;
}

static int run_tool(const settings *s) {
    run r = {.s = s, .options = ms_cli_library_options(&s->common), .began = ms_cli_now()};
    msim_error err = {0};
    int status;
    r.output = (ms_output){.path = s->output, .name_field = s->name_field, .vector_field = s->vector_field,
                           .dtype = s->dtype ? MSIM_DTYPE_F16 : MSIM_DTYPE_F32};
    int rc = prepare(&r, &err);
    if (rc < 0) {
        status = ms_cli_exit_of(rc);
        if (*err.text && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    } else if (rc == 1) {
        status = MS_EXIT_OK;
        ms_cli_note("%s is complete and was made with the same settings from the same files: nothing to do", s->output);
    } else {
        rc = embed(&r, &err);
        status = finish(&r, rc, &err);
    }
    ms_reader_close(r.reader);
    ms_token_lines_close(r.lines);
    if (ms_files_skips_close(r.skips, &err) < 0) {
        ms_cli_error("%s", err.text);
        status = MS_EXIT_FAILED;
    }
    msim_model_close(r.model);
    ms_rows_made_free(&r.made);
    ms_files_list_close(&r.files);
    return ms_cli_finish(status);
}

int main(int argc, char **argv) {
    static settings s = {.max_tokens = 3072, .pool_weights = {1.0f, 1.0f, 1.0f}};
    int status = ms_cli_parse(&tool, argc, argv, &s);
    if (status < 0) status = check_settings(&s);
    if (status >= 0) return status;
    ms_cli_catch_signals();
    return run_tool(&s);
}
