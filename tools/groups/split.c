/* --split: files dealt to sides. Contract: tools/groups/groups.h. */
#include "base/mem.h"
#include "groups.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    const ms_grouping_settings *s;
    const msim_groups *g;
    int64_t n;
    int *sides;     /* owned: [n] */
    int64_t *lumps; /* owned: [n] */
    int64_t crossing;
} dealt_files;

const char *ms_grouping_side_name(const ms_grouping_settings *s, int side, char text[16]) {
    static const char *const three[] = {"train", "valid", "test"};
    if (s->n_sides == 3) return three[side];
    if (s->n_sides == 2) return three[2 * side];
    snprintf(text, 16, "part%d", side + 1);
    return text;
}

static void print_row(const dealt_files *d, ms_grouping_out *out, int64_t file) {
    char name[16];
    msim_groups_file f = {.size = sizeof f};
    (void)msim_groups_get_file(d->g, file, &f);
    if (f.is_unread) return;
    const char *side = ms_grouping_side_name(d->s, d->sides[file], name);
    if (d->s->format != MS_GROUPS_JSON) {
        ms_grouping_print(out, "%s\t%lld\t", side, (long long)d->lumps[file]);
        ms_grouping_cell(out, f.name, f.name_bytes);
        ms_grouping_put(out, "\n", 1);
        return;
    }
    ms_json_text line = {0};
    char text[96];
    snprintf(text, sizeof text, "{\"split\":\"%s\",\"group\":%lld,\"name\":", side,
             (long long)d->lumps[file]);
    ms_json_put(&line, text, strlen(text));
    ms_json_put_string(&line, f.name, f.name_bytes);
    ms_json_put(&line, "}\n", 2);
    if (ms_json_text_failed(&line, NULL) >= 0) ms_grouping_put(out, line.data, line.n);
    ms_json_text_free(&line);
}

static int print_rows(const dealt_files *d, msim_error *err) {
    ms_grouping_out out;
    int rc = ms_grouping_out_open(&out, d->s->output, err);
    if (rc >= 0 && d->s->format != MS_GROUPS_JSON) ms_grouping_print(&out, "split\tgroup\tname\n");
    for (int64_t i = 0; i < d->n && rc >= 0; i++) print_row(d, &out, i);
    if (rc >= 0) rc = ms_grouping_out_finish(&out, err);
    ms_grouping_out_close(&out);
    return rc;
}

/* ---- PREFIX.train.txt and so on ---- */

typedef struct {
    const dealt_files *d;
    int side;
} side_list;

static bool is_on_side(void *user, int64_t file, const msim_groups_file *f) {
    const side_list *l = user;
    (void)f;
    return l->d->sides[file] == l->side;
}

static int write_side(const dealt_files *d, int side, msim_error *err) {
    char name[16], ending[32];
    side_list list = {d, side};
    snprintf(ending, sizeof ending, ".%s.txt", ms_grouping_side_name(d->s, side, name));
    char *path = ms_file_beside(d->s->lists, ending, err);
    if (!path) return -MSIM_E_MEMORY;
    const int rc =
        ms_grouping_write_list(path, d->s->is_nul_separated, d->g, is_on_side, &list, err);
    ms_free(path);
    return rc;
}

/* ---- The proof ---- */

static int64_t count_pairs(const msim_groups *g) {
    msim_groups_info info = {.size = sizeof info};
    int64_t n = 0;
    (void)msim_groups_get_info(g, &info);
    for (int k = 0; k < MSIM_PAIR_COUNT; k++) n += info.pairs[k];
    return n;
}

typedef struct {
    int64_t files, groups, notes;
} side_counts;

static side_counts count_side(const dealt_files *d, int side) {
    side_counts n = {0};
    int64_t last = 0; /* groups are numbered by their first files */
    for (int64_t i = 0; i < d->n; i++) {
        msim_groups_file f = {.size = sizeof f};
        const bool is_first = d->lumps[i] > last;
        if (is_first) last = d->lumps[i];
        if (side >= 0 && d->sides[i] != side) continue;
        (void)msim_groups_get_file(d->g, i, &f);
        if (f.is_unread) continue;
        n.files++;
        n.groups += is_first;
        n.notes += f.n_notes;
    }
    return n;
}

static void say_side(const dealt_files *d, int side, const side_counts *all) {
    char name[16], notes[32];
    const char *called = ms_grouping_side_name(d->s, side, name);
    const side_counts n = count_side(d, side);
    if (d->s->split_by && all->notes > 0)
        ms_cli_note("%s: %lld file%s in %lld group%s, %s note%s, %.1f %%", called,
                    (long long)n.files, ms_cli_plural(n.files), (long long)n.groups,
                    ms_cli_plural(n.groups), ms_cli_count(notes, n.notes), ms_cli_plural(n.notes),
                    100.0 * (double)n.notes / (double)all->notes);
    else
        ms_cli_note("%s: %lld file%s in %lld group%s, %.1f %%", called, (long long)n.files,
                    ms_cli_plural(n.files), (long long)n.groups, ms_cli_plural(n.groups),
                    100.0 * (double)n.files / (double)all->files);
    if (n.files == 0)
        ms_cli_warning("%s is empty: give it a larger share, try another --seed, or give more "
                       "files that are not related",
                       called);
}

static void say_counts(const dealt_files *d) {
    const side_counts all = count_side(d, -1);
    const int64_t pairs = count_pairs(d->g);
    for (int side = 0; side < d->s->n_sides; side++) say_side(d, side, &all);
    ms_cli_note("no pair crosses sides: %lld of %lld pair%s", (long long)d->crossing,
                (long long)pairs, ms_cli_plural(pairs));
}

int ms_grouping_print_split(const ms_grouping_settings *s, const msim_groups *g, msim_error *err) {
    const int how = (s->stratify ? MSIM_SPLIT_FOLDERS : 0) | (s->split_by ? MSIM_SPLIT_NOTES : 0);
    dealt_files d = {.s = s, .g = g};
    msim_groups_info info = {.size = sizeof info};
    (void)msim_groups_get_info(g, &info);
    d.n = info.files;
    d.sides = ms_alloc((size_t)d.n, sizeof *d.sides, "files", err);
    d.lumps = d.sides ? ms_alloc((size_t)d.n, sizeof *d.lumps, "files", err) : NULL;
    int rc = d.lumps ? 0 : -MSIM_E_MEMORY;
    if (rc >= 0)
        rc = msim_groups_split(g, s->shares, s->n_sides, (uint64_t)s->seed, how, d.sides, d.lumps,
                               &d.crossing, err);
    if (rc >= 0 && d.crossing)
        rc = ms_fail(err, MSIM_E_FORMAT, "%lld pairs cross sides: please report this",
                     (long long)d.crossing);
    if (rc >= 0) rc = print_rows(&d, err);
    for (int side = 0; s->lists && side < s->n_sides && rc >= 0; side++)
        rc = write_side(&d, side, err);
    if (rc >= 0) say_counts(&d);
    ms_free(d.sides);
    ms_free(d.lumps);
    return rc;
}
