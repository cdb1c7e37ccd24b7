/* midisim-index: MIDI files to a note index, which midisim-find searches. */
#include "common/cli.h"
#include "common/ranks.h"
#include "common/skips.h"
#include "common/texts/numbers.h"
#include "common/watch.h"
#include <string.h>

typedef struct {
    ms_cli_common common;
    const char *output, *files_from, *skipped, *shard;
    int64_t density, memory;
    int names;
    bool is_nul_separated, is_update, has_no_bottom, is_merge, is_verify, is_info;
    int64_t shard_index, n_shards;
} index_settings;

static const ms_cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = MS_CLI_TEXT,
     .value = "INDEX",
     .offset = offsetof(index_settings, output),
     .help = "the index to write, by custom NAME.notes",
     .brief = "the index to write"},
    {.name = "update",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(index_settings, is_update),
     .help = "INDEX exists: take unchanged pieces from it, add new and changed files, and drop "
             "pieces whose files are gone",
     .brief = "add new and changed files, drop vanished ones"},
    {.name = "density",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 16,
     .offset = offsetof(index_settings, density),
     .help = "keep one of N neighbouring words. 1, the default, finds most; 3 halves the file and "
             "is right for more than 100,000 pieces"},
    {.name = "no-bottom",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(index_settings, has_no_bottom),
     .help = "leave out bottom lines: a smaller file, but a bass line alone is found less often"},
    MS_CLI_ROW_NAMES(index_settings, "what a piece is called"),
    MS_CLI_ROW_FILES_FROM(index_settings),
    MS_CLI_ROW_NULL(index_settings),
    MS_CLI_ROW_SKIPPED(index_settings),
    {.name = "shard",
     .kind = MS_CLI_TEXT,
     .value = "I/N",
     .offset = offsetof(index_settings, shard),
     .help = "index part I of N of the files, I from 1; --merge joins the parts"},
    {.name = "merge",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(index_settings, is_merge),
     .help = "the operands are indexes: write them as one. The bytes are those of one run over all "
             "files",
     .brief = "join indexes into one"},
    {.name = "memory",
     .kind = MS_CLI_INT,
     .value = "MB",
     .min = 1,
     .max = 1 << 20,
     .offset = offsetof(index_settings, memory),
     .help = "memory for building (default 1024); what is more is sorted on disk beside INDEX"},
    {.name = "info",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(index_settings, is_info),
     .help = "say what each index holds",
     .brief = "say what an index holds"},
    {.name = "verify",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(index_settings, is_verify),
     .help = "read each index through and compare its checksums"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-index -o music.notes music/", "an index of a folder"},
    {"midisim-index --update -o music.notes music/", "after files came, changed or went"},
    {"midisim-index --shard 3/16 -o part-03.notes music/", "one part of sixteen"},
    {"midisim-index --merge -o music.notes part-*.notes", "all parts as one"},
    {"midisim-index --info music.notes", "what it holds"},
    {0}};

static const ms_cli_tool tool = {
    .name = "midisim-index",
    .purpose = "Writes the notes of MIDI files and the places of their melodic words to an index.",
    .summary = "index the notes of MIDI files, for midisim-find",
    .usage = "[options] -o INDEX PATH...\n--update [options] -o INDEX PATH...\n--merge -o INDEX "
             "INDEX...\n--info | --verify INDEX...",
    .description =
        "PATH is a file, - for standard input, or a folder. In folders, .mid, .midi and .kar files "
        "are found at any depth, also gzip-compressed ones. The index is one file; its bytes "
        "depend on the files and options alone. midisim-find searches it in any key and tempo.\n\n"
        "A run that was stopped keeps what it has read in INDEX.kept-*; the same command goes on.",
    .examples = examples,
    .options = options,
    .has_no_kernels = true};

/* ---- Existing indexes ---- */

static int show_info(const char *path, const msim_notes *notes) {
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(notes, &info);
    const double n = info.notes > 0 ? (double)info.notes : 1;
    return ms_cli_print("%s\t%lld pieces\t%lld notes\t%.2f postings a note\tdensity %d\t%s bottom "
                        "lines\t%lld bytes\t%.2f bytes a note\n",
                        path, (long long)info.pieces, (long long)info.notes,
                        (double)info.postings / n, info.density,
                        info.has_bottom ? "with" : "without", (long long)info.file_bytes,
                        (double)info.file_bytes / n);
}

static int look_at(const index_settings *s) {
    int result = 0;
    for (size_t i = 0; i < s->common.operands.n; i++) {
        const char *path = s->common.operands.items[i];
        msim_notes *notes;
        msim_error err;
        int rc = msim_notes_open(path, &notes, &err);
        if (rc >= 0 && s->is_verify) rc = msim_notes_check(notes, &err);
        if (rc >= 0 && s->is_verify && !s->is_info) ms_cli_note("%s is whole", path);
        if (rc >= 0 && s->is_info && show_info(path, notes) < 0) rc = -MSIM_E_IO;
        msim_notes_close(notes);
        if (rc >= 0) continue;
        ms_cli_error("%s", err.text);
        result = ms_cli_as_failure(rc);
    }
    return result;
}

static int merge(const index_settings *s) {
    msim_error err;
    int rc = msim_notes_merge(s->common.operands.items, s->common.operands.n, s->output,
                              s->memory << 20, &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        return ms_cli_as_failure(rc);
    }
    ms_cli_note("wrote %s", s->output);
    return 0;
}

/* ---- Building ---- */

static int add_skip(void *user, const msim_walk_item *item) {
    ms_cli_skips_add(user, item->path, item->reason, item->detail, item->is_failure);
    return 0;
}

static msim_notes_job_options job_options(const index_settings *s, ms_cli_skips *skips) {
    msim_notes_job_options o = msim_notes_job_options_default();
    o.walk = ms_cli_walk_options();
    o.walk.paths = s->common.operands.items;
    o.walk.n_paths = s->common.operands.n;
    o.walk.files_from = s->files_from;
    o.walk.is_nul_separated = s->is_nul_separated;
    o.walk.has_stream = 1;
    o.walk.names = s->names;
    o.walk.shard = s->shard_index;
    o.walk.n_shards = s->n_shards;
    o.walk.threads = ms_cli_threads(&s->common);
    o.notes.density = (int)s->density;
    o.notes.leaves_out_bottom = s->has_no_bottom;
    o.notes.memory_bytes = s->memory << 20;
    o.output = s->output;
    o.update = s->is_update;
    o.skip = add_skip;
    o.skip_user = skips;
    o.ranks = ms_ranks_table();
    return o;
}

static void say_result(const index_settings *s, const msim_notes_job_stats *t,
                       const ms_cli_skips *skips) {
    char files[32], pieces[32], notes[32], reasons[400];
    ms_cli_skips_describe(skips, reasons, sizeof reasons);
    ms_cli_note("%s file%s: %s piece%s, %s note%s read, %lld skipped%s%s%s, %.2f s",
                ms_cli_count(files, t->files), ms_cli_plural(t->files),
                ms_cli_count(pieces, t->pieces), ms_cli_plural(t->pieces),
                ms_cli_count(notes, t->notes), ms_cli_plural(t->notes), (long long)t->skipped,
                *reasons ? " (" : "", reasons, *reasons ? ")" : "",
                t->read_seconds + t->write_seconds);
    if (s->is_update || t->kept)
        ms_cli_note("%lld piece%s added, %lld kept, %lld dropped", (long long)t->added,
                    ms_cli_plural(t->added), (long long)t->kept, (long long)t->dropped);
}

static int build(const index_settings *s) {
    ms_cli_skips *skips = NULL;
    msim_error err;
    msim_notes_job_stats stats = {.size = sizeof stats};
    int rc = ms_ranks_index() == 0 ? ms_cli_skips_open(s->skipped, s->files_from, &skips, &err) : 0;
    rc = ms_ranks_agree(rc, &err);
    if (rc >= 0) {
        const msim_notes_job_options o = job_options(s, skips);
        rc = msim_notes_build(&o, &stats, &err);
        ms_cli_progress_end();
    }
    if (rc < 0 && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    if (rc == -MSIM_E_STOPPED)
        ms_cli_note("not complete: what was read is kept in %s.kept-*; run the same command again "
                    "to go on",
                    s->output);
    if (rc >= 0 && ms_ranks_index() == 0) {
        say_result(s, &stats, skips);
        ms_cli_note("wrote %s", s->output);
    }
    const bool has_failures = skips && ms_cli_skips_failures(skips) > 0;
    if (ms_cli_skips_close(skips, &err) < 0) {
        ms_cli_error("%s", err.text);
        rc = -MSIM_E_IO;
    }
    return rc >= 0 && has_failures ? -MSIM_E_EMPTY : rc;
}

static int check_settings(index_settings *s) {
    const bool is_look = s->is_info || s->is_verify;
    if (s->common.operands.n == 0 && !s->files_from)
        return ms_cli_usage("no input: give a PATH or --files-from");
    if ((is_look || s->is_merge) && ms_ranks_count() > 1)
        return ms_cli_usage(
            "%s works in a single process, not on %d ranks: start it without mpirun",
            s->is_merge ? "--merge" : "--info and --verify", ms_ranks_count());
    if (is_look && (s->output || s->is_merge || s->is_update))
        return ms_cli_usage("--info and --verify only read: leave out -o, --merge and --update");
    if (is_look) return 0;
    if (!s->output) return ms_cli_usage("no output: give -o INDEX");
    if (strcmp(s->output, "-") == 0)
        return ms_cli_usage("-o -: an index cannot go to standard output: give a file name");
    if (s->is_merge && (s->is_update || s->shard || s->files_from))
        return ms_cli_usage("--merge joins indexes: leave out --update, --shard and --files-from");
    if (s->is_nul_separated && !s->files_from)
        return ms_cli_usage("-0 is for lists of files: give --files-from too");
    return ms_cli_shard(s->shard, &s->shard_index, &s->n_shards);
}

static int run(const index_settings *s) {
    if (s->is_info || s->is_verify) return look_at(s);
    return s->is_merge ? merge(s) : build(s);
}

int main(int argc, char **argv) {
    static index_settings s = {.density = 1, .memory = 1024};
    ms_ranks_begin(&argc, &argv);
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    if (rc == 0) rc = check_settings(&s);
    if (rc != 0) return ms_ranks_end(ms_cli_finish(rc));
    ms_cli_catch_signals();
    return ms_ranks_end(ms_cli_finish(run(&s)));
}
