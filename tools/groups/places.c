/* Outputs that would replace what was read, or each other. Contract: tools/groups/groups.h. */
#include "base/mem.h"
#include "common/notes/html.h"
#include "common/texts/output.h"
#include "groups.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { OUTPUTS = 6 + MS_GROUPS_MAX_SIDES };

typedef struct {
    const char *option;
    char *path; /* owned */
    struct stat st;
    bool is_there;
} output_place;

typedef struct {
    output_place outputs[OUTPUTS];
    size_t n;
    bool any_is_there;
} output_places;

static int add(output_places *p, const char *option, const char *path, const char *ending,
               msim_error *err) {
    output_place *o = &p->outputs[p->n];
    if (!path) return 0;
    *o = (output_place){.option = option, .path = ms_file_beside(path, ending, err)};
    if (!o->path) return -MSIM_E_MEMORY;
    o->is_there = stat(o->path, &o->st) == 0;
    p->any_is_there |= o->is_there;
    p->n++;
    return 0;
}

static int list_outputs(const ms_grouping_settings *s, output_places *p, msim_error *err) {
    char name[16], ending[32];
    int rc = add(p, "-o", s->output, "", err);
    if (rc >= 0) rc = add(p, "--pairs", s->pairs, "", err);
    if (rc >= 0) rc = add(p, "--keep-list", s->keep_list, "", err);
    if (rc >= 0) rc = add(p, "--drop-list", s->drop_list, "", err);
    if (rc >= 0) rc = add(p, "--skipped", s->skipped, "", err);
    if (rc >= 0) rc = add(p, "--html", s->html, "", err);
    for (int side = 0; rc >= 0 && s->lists && side < s->n_sides; side++) {
        snprintf(ending, sizeof ending, ".%s.txt", ms_grouping_side_name(s, side, name));
        rc = add(p, "--lists", s->lists, ending, err);
    }
    return rc;
}

/* Refuse when an output is this file. Devices are written to, not replaced. */
static int check(const output_places *p, const char *path, const char *what, msim_error *err) {
    struct stat st;
    if (!path || !p->any_is_there || stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->outputs[i].is_there && p->outputs[i].st.st_dev == st.st_dev &&
            p->outputs[i].st.st_ino == st.st_ino)
            return ms_fail(err, MSIM_E_ARG, "%s %s would replace %s: name another file",
                           p->outputs[i].option, p->outputs[i].path, what);
    return 0;
}

static int check_twice(const output_places *p, msim_error *err) {
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->outputs[i].path, p->outputs[k].path) == 0)
                return ms_fail(err, MSIM_E_ARG, "%s and %s both write %s: name another file",
                               p->outputs[k].option, p->outputs[i].option, p->outputs[i].path);
    return 0;
}

/* WORK and what is beside it: the index of a corpus, and found pairs. */
static int check_work(const output_places *p, const char *work, msim_error *err) {
    static const char *const endings[] = {"", ".pairs", ".notes"};
    int rc = 0;
    for (int i = 0; i < 3 && rc >= 0; i++) {
        char *path = ms_file_beside(work, endings[i], err);
        rc = path ? check(p, path, i == 1 ? "the pairs that were found" : "the index", err)
                  : -MSIM_E_MEMORY;
        ms_free(path);
    }
    return rc;
}

static void free_outputs(output_places *p) {
    while (p->n) ms_free(p->outputs[--p->n].path);
}

/* An output that is there already is replaced if it is of the same kind. */
static int check_kinds(const output_places *p, msim_error *err) {
    int rc = 0;
    for (size_t i = 0; i < p->n && rc >= 0; i++)
        rc = strcmp(p->outputs[i].option, "--html") == 0
                 ? ms_html_check(p->outputs[i].path, err)
                 : ms_cli_check_output(p->outputs[i].path, NULL, err);
    return rc;
}

int ms_grouping_check_inputs(const ms_grouping_settings *s, const char *work, msim_error *err) {
    output_places p = {.n = 0};
    const ms_cli_texts *paths[] = {&s->common.operands, &s->against};
    int rc = list_outputs(s, &p, err);
    if (rc >= 0) rc = check_twice(&p, err);
    for (int c = 0; c < 2; c++)
        for (size_t i = 0; i < paths[c]->n && rc >= 0; i++)
            rc = check(&p, paths[c]->items[i], "an input", err);
    if (rc >= 0) rc = check(&p, s->files_from, "the list of --files-from", err);
    if (rc >= 0) rc = check(&p, s->preferences.n ? s->keep : NULL, "the list of --keep", err);
    if (rc >= 0) rc = check(&p, s->state, "the file of --state", err);
    if (rc >= 0) rc = check_work(&p, work, err);
    if (rc >= 0) rc = check_kinds(&p, err);
    free_outputs(&p);
    return rc;
}

int ms_grouping_check_files(const ms_grouping_settings *s, const msim_groups *g, msim_error *err) {
    output_places p = {.n = 0};
    msim_groups_file f = {.size = sizeof f};
    int rc = list_outputs(s, &p, err);
    for (int64_t i = 0; rc >= 0 && p.any_is_there && msim_groups_get_file(g, i, &f) >= 0; i++)
        rc = check(&p, f.path, "a file of the collection", err);
    free_outputs(&p);
    return rc;
}
