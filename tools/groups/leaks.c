/* --leaks and --against: files of the second collection that relate to one of the first. Contract:
 * tools/groups/groups.h. */
#include "groups.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    const ms_grouping_settings *s;
    const msim_groups *g;
    ms_grouping_out out;
    int64_t n_files, n_leaks, n_of_kind[MSIM_PAIR_COUNT];
} leak_report;

static void print_json(leak_report *r, const msim_groups_file *of, const msim_groups_file *in,
                       const msim_file_pair *p) {
    ms_json_text line = {0};
    char text[64];
    snprintf(text, sizeof text, "{\"kind\":\"%s\",\"name\":", msim_pair_kind_name(p->kind));
    ms_json_put(&line, text, strlen(text));
    ms_json_put_string(&line, of->name, of->name_bytes);
    ms_json_put(&line, ",\"in\":", 6);
    ms_json_put_string(&line, in->name, in->name_bytes);
    ms_grouping_put_evidence(p, &line);
    ms_json_put(&line, "}\n", 2);
    if (ms_json_text_failed(&line, NULL) >= 0) ms_grouping_put(&r->out, line.data, line.n);
    ms_json_text_free(&line);
}

static void print_leak(leak_report *r, int64_t file, const msim_groups_file *of) {
    msim_groups_file in = {.size = sizeof in};
    msim_file_pair p;
    char reason[MS_GROUPS_REASON];
    (void)msim_groups_get_file(r->g, of->keeper, &in);
    r->n_of_kind[msim_groups_relate(r->g, of->keeper, file, &p)]++;
    r->n_leaks++;
    if (r->s->format == MS_GROUPS_JSON) {
        print_json(r, of, &in, &p);
        return;
    }
    ms_grouping_reason(&p, reason);
    if (r->s->format == MS_GROUPS_TABLE) {
        ms_grouping_print(&r->out, "%-8s  ", msim_pair_kind_name(p.kind));
        ms_grouping_put(&r->out, of->name, of->name_bytes);
        ms_grouping_print(&r->out, "  =  ");
        ms_grouping_put(&r->out, in.name, in.name_bytes);
        ms_grouping_print(&r->out, "  (%s)\n", reason);
        return;
    }
    ms_grouping_print(&r->out, "%s\t", msim_pair_kind_name(p.kind));
    ms_grouping_cell(&r->out, of->name, of->name_bytes);
    ms_grouping_put(&r->out, "\t", 1);
    ms_grouping_cell(&r->out, in.name, in.name_bytes);
    ms_grouping_print(&r->out, "\t%s\n", reason);
}

static void say_counts(const leak_report *r) {
    char text[200] = "";
    for (int k = MSIM_PAIR_BYTES; k < MSIM_PAIR_COUNT; k++) {
        const size_t n = strlen(text);
        if (r->n_of_kind[k])
            snprintf(text + n, sizeof text - n, "%s%s %lld", n ? ", " : ": ",
                     msim_pair_kind_name(k), (long long)r->n_of_kind[k]);
    }
    ms_cli_note("%lld of %lld file%s of the second collection %s in the first%s",
                (long long)r->n_leaks, (long long)r->n_files, ms_cli_plural(r->n_files),
                r->n_leaks == 1 ? "is" : "are", text);
}

int64_t ms_grouping_print_leaks(const ms_grouping_settings *s, const msim_groups *g,
                                msim_error *err) {
    leak_report r = {.s = s, .g = g};
    msim_groups_file f = {.size = sizeof f};
    int rc = ms_grouping_out_open(&r.out, s->output, err);
    if (rc >= 0 && s->format == MS_GROUPS_TSV)
        ms_grouping_print(&r.out, "kind\tname\tin\treason\n");
    for (int64_t i = 0; rc >= 0 && msim_groups_get_file(g, i, &f) >= 0; i++) {
        r.n_files += f.collection == 1;
        if (f.collection == 1 && f.keeper >= 0) print_leak(&r, i, &f);
    }
    if (rc >= 0) rc = ms_grouping_out_finish(&r.out, err);
    ms_grouping_out_close(&r.out);
    if (rc >= 0) say_counts(&r);
    return rc < 0 ? rc : r.n_leaks;
}
