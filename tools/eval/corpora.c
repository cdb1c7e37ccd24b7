/* Contract: tools/eval/corpora.h. */
#define _GNU_SOURCE
#include "corpora.h"
#include "common/texts/spelling.h"
#include "common/watch.h"
#include "base/mem.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), n_ending = strlen(ending);
    return n > n_ending && strcmp(name + n - n_ending, ending) == 0;
}

/* A folder, none of whose files is a corpus. */
static bool is_midi_folder(const char *path) {
    struct stat st;
    DIR *folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    const struct dirent *entry;
    bool has_corpus = false;
    if (!folder) return false;
    while (!has_corpus && (entry = readdir(folder)))
        has_corpus = ends_in(entry->d_name, ".npy") || ends_in(entry->d_name, ".fvecs") ||
                     ends_in(entry->d_name, ".fbin");
    closedir(folder);
    return !has_corpus;
}

/* Embed a folder; run again, it goes on where it was. */
static int embed(const ms_eval_settings *set, const char *path, const char *output,
                 msim_error *err) {
    char model[4352];
    msim_options options = ms_cli_library_options(&set->common);
    msim_job_options o = msim_job_options_default();
    msim_job *job = NULL;
    int rc = ms_cli_model_path(&set->common, model, sizeof model, err);
    o.output = output;
    o.paths = &path;
    o.n_paths = 1;
    o.model_path = model;
    o.options = &options;
    o.is_update = set->keep != NULL;
    o.progress = ms_cli_job_progress;
    o.message = ms_cli_job_message;
    if (rc >= 0) rc = msim_job_open(&o, &job, err);
    if (rc >= 0) rc = msim_job_run(job, err);
    ms_cli_progress_end();
    msim_job_close(job);
    return rc < 0 ? rc : 0;
}

/* The name of a folder's corpus: its last part that is a name. */
static int name_output(const char *folder, const char *path, char *out, size_t cap,
                       msim_error *err) {
    char *real = realpath(path, NULL);
    const char *slash = real ? strrchr(real, '/') : NULL,
               *name = slash && slash[1] ? slash + 1 : "";
    bool fits = (size_t)snprintf(out, cap, "%s/%s.npy", folder, *name ? name : "corpus") < cap;
    free(real);
    return fits ? 0 : ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", folder);
}

/* The files that a job may leave, and the folder. */
static void remove_temporary(const char *folder, const char *output) {
    static const char *const endings[] = {"", ".json", ".journal"};
    char path[4400];
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if ((size_t)snprintf(path, sizeof path, "%s%s", output, endings[i]) < sizeof path)
            (void)unlink(path);
    (void)rmdir(folder);
}

static int open_embedded(const ms_eval_settings *set, const char *path, msim_corpus **out,
                         msim_error *err) {
    char folder[4000], output[4300];
    const char *place = getenv("TMPDIR");
    bool is_kept = set->keep != NULL;
    snprintf(folder, sizeof folder, "%s%s",
             is_kept           ? set->keep
             : place && *place ? place
                               : "/tmp",
             is_kept ? "" : "/midisim-eval-XXXXXX");
    bool is_there = is_kept ? mkdir(folder, 0777) == 0 || access(folder, W_OK) == 0
                            : mkdtemp(folder) != NULL;
    if (!is_there) return ms_fail(err, MSIM_E_IO, "cannot write into: %.300s", folder);
    int rc = name_output(folder, path, output, sizeof output, err);
    if (rc >= 0) rc = embed(set, path, output, err);
    if (rc >= 0) rc = msim_corpus_open(output, NULL, out, err); /* mapped: it may go */
    if (rc >= 0 && msim_corpus_has_spans(*out, err) < 0) rc = -MSIM_E_FORMAT;
    if (!is_kept) remove_temporary(folder, output);
    return rc;
}

int ms_eval_corpus_open(const ms_eval_settings *set, const char *path, msim_corpus **out,
                        msim_error *err) {
    char near[300] = "";
    msim_error why;
    *out = NULL;
    if (is_midi_folder(path)) return open_embedded(set, path, out, err);
    int rc = msim_corpus_open(path, NULL, out, &why);
    if (rc >= 0 && msim_corpus_rows(*out) > 0) return 0;
    if (rc >= 0)
        return ms_fail(err, MSIM_E_EMPTY, "nothing to measure: %.300s: the corpus has no rows",
                       path);
    ms_spelling_of_file(path, near, sizeof near);
    return ms_fail(err, rc == -MSIM_E_UNSUPPORTED ? MSIM_E_FORMAT : -rc, "%s%s", why.text, near);
}
