/* Lists of files to keep and to drop, all pairs, and files without notes. Contract:
 * tools/groups/groups.h. */
#include "groups.h"
#include <string.h>

int ms_grouping_write_list(const char *path, bool is_nul_separated, const msim_groups *g,
                           bool (*is_in)(void *user, int64_t file, const msim_groups_file *f),
                           void *user, msim_error *err) {
    ms_grouping_out out;
    msim_groups_file f = {.size = sizeof f};
    int rc = ms_grouping_out_open(&out, path, err);
    for (int64_t i = 0; rc >= 0 && msim_groups_get_file(g, i, &f) >= 0; i++) {
        /* What was not read may be a folder: named in a list, all in it would be. */
        if (f.is_unread || !is_in(user, i, &f)) continue;
        const char *text = f.path ? f.path : f.name;
        const size_t n = f.path ? strlen(f.path) : f.name_bytes;
        if (!is_nul_separated && memchr(text, '\n', n))
            rc = ms_fail(err, MSIM_E_ARG, "%s: a name holds a newline: give -0, for lists with NUL",
                         path);
        ms_grouping_put(&out, text, n);
        ms_grouping_put(&out, is_nul_separated ? "\0" : "\n", 1);
    }
    if (rc >= 0) rc = ms_grouping_out_finish(&out, err);
    ms_grouping_out_close(&out);
    return rc;
}

static bool is_kept(void *user, int64_t file, const msim_groups_file *f) {
    (void)user;
    return f->keeper == file;
}

static bool is_dropped(void *user, int64_t file, const msim_groups_file *f) {
    return !is_kept(user, file, f);
}

/* ---- Pairs ---- */

typedef struct {
    const msim_groups *g;
    ms_grouping_out out;
} pair_listing;

static int print_pair(void *user, const msim_file_pair *p) {
    pair_listing *l = user;
    msim_groups_file a = {.size = sizeof a}, b = {.size = sizeof b};
    (void)msim_groups_get_file(l->g, p->a, &a);
    (void)msim_groups_get_file(l->g, p->b, &b);
    ms_grouping_print(&l->out, "%s\t", msim_pair_kind_name(p->kind));
    ms_grouping_cell(&l->out, a.name, a.name_bytes);
    ms_grouping_put(&l->out, "\t", 1);
    ms_grouping_cell(&l->out, b.name, b.name_bytes);
    ms_grouping_print(
        &l->out, "\t%s\t%lld\t%lld\t%lld\t%.4f\t%d\t%.4f\t%.2f\t%.4g\t%.3f\t%.3f\t%.3f\t%.3f\n",
        p->direction > 0   ? "part of"
        : p->direction < 0 ? "contains"
                           : "",
        (long long)p->n_matched, (long long)p->of_a, (long long)p->of_b, p->identity, p->transpose,
        p->tempo, p->score, p->evalue, p->a_from, p->a_to, p->b_from, p->b_to);
    return 0;
}

static int write_pairs(const char *path, const msim_groups *g, msim_error *err) {
    pair_listing l = {.g = g};
    int rc = ms_grouping_out_open(&l.out, path, err);
    if (rc >= 0) {
        ms_grouping_print(&l.out, "kind\ta\tb\tdirection\tnotes\tof_a\tof_b\tidentity\ttranspose\t"
                                  "tempo\tscore\tevalue\ta_from\ta_to\tb_from\tb_to\n");
        const int64_t n = msim_groups_pairs(g, print_pair, &l, err);
        rc = n < 0 ? (int)n : ms_grouping_out_finish(&l.out, err);
    }
    ms_grouping_out_close(&l.out);
    return rc;
}

/* ---- Files without notes ---- */

static int write_skipped(const char *path, const msim_groups *g, msim_error *err) {
    ms_grouping_out out;
    msim_groups_file f = {.size = sizeof f};
    int rc = ms_grouping_out_open(&out, path, err);
    if (rc >= 0) ms_grouping_print(&out, "path\treason\n");
    for (int64_t i = 0; rc >= 0 && msim_groups_get_file(g, i, &f) >= 0; i++) {
        if (f.reason == MSIM_SKIP_NONE) continue;
        ms_grouping_cell(&out, f.path ? f.path : f.name, f.path ? strlen(f.path) : f.name_bytes);
        ms_grouping_print(&out, "\t%s\n", msim_skip_reason_name(f.reason));
    }
    if (rc >= 0) rc = ms_grouping_out_finish(&out, err);
    ms_grouping_out_close(&out);
    return rc;
}

int ms_grouping_write_lists(const ms_grouping_settings *s, const msim_groups *g, msim_error *err) {
    int rc = s->pairs ? write_pairs(s->pairs, g, err) : 0;
    if (rc >= 0 && s->skipped) rc = write_skipped(s->skipped, g, err);
    if (rc >= 0 && s->keep_list)
        rc = ms_grouping_write_list(s->keep_list, s->is_nul_separated, g, is_kept, NULL, err);
    if (rc >= 0 && s->drop_list)
        rc = ms_grouping_write_list(s->drop_list, s->is_nul_separated, g, is_dropped, NULL, err);
    return rc;
}
