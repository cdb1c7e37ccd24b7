/* midisim-groups: files that are the same music. The library finds and groups them; this is what
 * was asked for, where what was found is kept, and messages. */
#include "base/hash/fnv.h"
#include "common/notes/html.h"
#include "common/notes/open.h"
#include "common/ranks.h"
#include "common/watch.h"
#include "groups.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Where what was found is kept ---- */

static bool ends_in(const char *path, const char *ending) {
    const size_t n = strlen(path), m = strlen(ending);
    return n > m && strcmp(path + n - m, ending) == 0;
}

/* Beside an index or a corpus, if it is the only input and its folder can be written. */
static bool is_beside(const ms_grouping_settings *s, char *work, size_t cap) {
    char folder[PATH_MAX];
    struct stat st;
    const ms_cli_texts *paths = &s->common.operands;
    if (paths->n != 1 || s->files_from || s->against.n) return false;
    if (stat(paths->items[0], &st) != 0 || S_ISDIR(st.st_mode)) return false;
    if (ends_in(paths->items[0], ".npy"))
        (void)ms_noteindex_beside(paths->items[0], work, cap);
    else if (ends_in(paths->items[0], ".notes"))
        snprintf(work, cap, "%s", paths->items[0]);
    else
        return false;
    return ms_file_folder(work, folder, sizeof folder) && access(folder, W_OK) == 0;
}

static uint64_t add_path(uint64_t hash, const char *path) {
    char real[PATH_MAX], text[PATH_MAX + 32];
    if (!realpath(path, real)) snprintf(real, sizeof real, "%s", path);
    const int n = snprintf(text, sizeof text, "%016llx%s", (unsigned long long)hash, real);
    return ms_fnv1a(text, (size_t)n);
}

/* The path that files of this run begin with. In the cache folder it is named after the inputs. */
static int find_work(const ms_grouping_settings *s, char *work, size_t cap, msim_error *err) {
    uint64_t hash = 0;
    if (is_beside(s, work, cap)) return 0;
    int rc = ms_noteindex_cache(work, cap - 64, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < s->common.operands.n; i++)
        hash = add_path(hash, s->common.operands.items[i]);
    for (size_t i = 0; i < s->against.n; i++) hash = add_path(~hash, s->against.items[i]);
    if (s->files_from) hash = add_path(hash + 1, s->files_from);
    const size_t n = strlen(work);
    snprintf(work + n, cap - n, "/%016llx.groups", (unsigned long long)hash);
    return 0;
}

/* ---- The job ---- */

static msim_groups_options job_options(const ms_grouping_settings *s) {
    msim_groups_options o = msim_groups_options_default();
    o.paths = s->common.operands.items;
    o.n_paths = s->is_leaks ? 1 : s->common.operands.n;
    o.against = s->is_leaks ? s->common.operands.items + 1 : s->against.items;
    o.n_against = s->is_leaks ? 1 : s->against.n;
    o.files_from = s->files_from;
    o.is_nul_separated = s->is_nul_separated;
    o.state = s->state;
    o.kinds = s->kind_bits;
    o.link = s->split ? MSIM_LINK_SINGLE : s->link; /* a split looks at pairs alone */
    o.keep = s->keeper;
    o.preferences = s->preferences.items;
    o.n_preferences = s->preferences.n;
    o.evalue = s->evalue;
    o.alike = s->alike;
    o.threads = ms_cli_threads(&s->common);
    o.progress = ms_cli_unit_progress;
    o.message = ms_cli_job_message;
    o.ranks = ms_ranks_table();
    return o;
}

static void say_counts(const ms_grouping_settings *s, const msim_groups *g, double seconds) {
    msim_groups_info i = {.size = sizeof i};
    char files[32], contents[32], pieces[32], skipped[96] = "";
    int64_t pairs = 0;
    (void)msim_groups_get_info(g, &i);
    for (int k = 0; k < MSIM_PAIR_COUNT; k++) pairs += i.pairs[k];
    if (i.without_notes || i.unread)
        snprintf(skipped, sizeof skipped, "; %lld without notes, %lld unread",
                 (long long)i.without_notes, (long long)i.unread);
    ms_cli_note(
        "%s file%s, %s content%s, %s piece%s%s; %lld compared, %lld known from before, "
        "%lld pair%s, %.2f s",
        ms_cli_count(files, i.files), ms_cli_plural(i.files), ms_cli_count(contents, i.contents),
        ms_cli_plural(i.contents), ms_cli_count(pieces, i.pieces), ms_cli_plural(i.pieces), skipped,
        (long long)i.asked, (long long)i.known, (long long)pairs, ms_cli_plural(pairs), seconds);
    const int64_t n_extra = i.files - i.groups - i.singles;
    if (!s->split && !s->is_leaks && !s->against.n)
        ms_cli_note("%lld group%s: %lld file%s can be left out", (long long)i.groups,
                    ms_cli_plural(i.groups), (long long)n_extra, ms_cli_plural(n_extra));
}

/* The first few of them. */
static void name_unread(const msim_groups *g) {
    msim_groups_file f = {.size = sizeof f};
    for (int64_t i = 0, n = 0; n < 5 && msim_groups_get_file(g, i, &f) >= 0; i++) {
        if ((!f.is_unread && f.reason != MSIM_SKIP_NO_MEMORY) || !f.path) continue;
        ms_cli_warning("%s: %s", msim_skip_reason_name(f.reason), f.path);
        n++;
    }
}

/* What was not read was not compared: the result says less than was asked for. */
static int check_unread(const ms_grouping_settings *s, const msim_groups *g) {
    msim_groups_info i = {.size = sizeof i};
    (void)msim_groups_get_info(g, &i);
    if (i.unread == 0) return 0;
    name_unread(g);
    ms_cli_error("%lld file%s could not be read%s", (long long)i.unread, ms_cli_plural(i.unread),
                 s->skipped ? "" : ": --skipped FILE lists what was left out");
    return -MSIM_E_IO;
}

/* The notes of pieces of an index are in it: with one index given, their files may be missing. */
static int write_report(const ms_grouping_settings *s, const msim_groups *g, msim_error *err) {
    char beside[PATH_MAX] = "";
    msim_notes *notes = NULL;
    ms_html html = {0};
    int rc = 0;
    if (!s->html) return 0;
    if (s->common.operands.n == 1 && ends_in(s->common.operands.items[0], ".notes"))
        rc = msim_notes_open(s->common.operands.items[0], &notes, err);
    else if (s->common.operands.n == 1 && ends_in(s->common.operands.items[0], ".npy") &&
             ms_noteindex_beside(s->common.operands.items[0], beside, sizeof beside))
        rc = msim_notes_open(beside, &notes, err);
    if (rc >= 0) rc = ms_html_open(s->html, &s->roots, NULL, notes, &html, err);
    if (rc >= 0) rc = msim_report_add_groups(html.report, g, err);
    ms_cli_progress_end();
    if (rc >= 0) rc = ms_html_write(&html, err);
    ms_html_close(&html);
    msim_notes_close(notes);
    return rc;
}

/* Returns the exit code's status, or MS_GROUPS_LEAKS. */
static int show(const ms_grouping_settings *s, const msim_groups *g, msim_error *err) {
    if (s->is_leaks || s->against.n) {
        const int64_t n = ms_grouping_print_leaks(s, g, err);
        const int rc = n < 0 ? (int)n : ms_grouping_write_lists(s, g, err);
        return rc >= 0 && s->is_leaks && n > 0 ? MS_GROUPS_LEAKS : rc;
    }
    int rc = s->split ? ms_grouping_print_split(s, g, err) : ms_grouping_print_groups(s, g, err);
    if (rc >= 0) rc = ms_grouping_write_lists(s, g, err);
    if (rc >= 0) rc = write_report(s, g, err); /* before files are moved */
    return rc < 0 ? rc : ms_grouping_act(s, g, err);
}

static int run(const ms_grouping_settings *s) {
    char work[PATH_MAX + 64];
    msim_groups *g = NULL;
    msim_error err = {0};
    const double began = ms_cli_now();
    msim_groups_options o = job_options(s);
    int rc = ms_ranks_index() == 0 ? find_work(s, work, sizeof work, &err) : 0;
    o.work = work;
    if (rc >= 0 && ms_ranks_index() == 0) rc = ms_grouping_check_inputs(s, work, &err);
    rc = ms_ranks_agree(rc, &err);
    if (rc >= 0) rc = msim_groups_find(&o, &g, &err);
    ms_cli_progress_end();
    if (rc >= 0 && ms_ranks_index() == 0) {
        say_counts(s, g, ms_cli_now() - began);
        rc = ms_grouping_check_files(s, g, &err);
        if (rc >= 0) rc = show(s, g, &err);
    }
    if (rc == 0 && ms_ranks_index() == 0) rc = check_unread(s, g);
    if (rc < 0 && err.text[0] && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    if (rc == -MSIM_E_STOPPED)
        ms_cli_note("not complete: what was read and compared is kept; run the same command again "
                    "to go on");
    msim_groups_close(g);
    return rc;
}

int main(int argc, char **argv) {
    static ms_grouping_settings s = {.evalue = 1e-3};
    ms_ranks_begin(&argc, &argv);
    int rc = ms_cli_parse(&ms_grouping_tool, argc, argv, &s);
    if (rc == 0) rc = ms_grouping_check(&s);
    if (rc != 0) return ms_ranks_end(ms_cli_finish(rc));
    ms_cli_catch_signals();
    rc = run(&s);
    const int status = ms_cli_finish(rc);
    return ms_ranks_end(status == 0 && rc == MS_GROUPS_LEAKS ? MS_GROUPS_LEAKS : status);
}
