/* Groups as table, TSV or JSON. Contract: tools/groups/groups.h. */
#include "groups.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    const msim_groups *g;
    int64_t number, n, keeper;
    const int64_t *members; /* [n] */
    int64_t saved;          /* bytes of the files that are not kept; -1: not known */
    unsigned kinds;         /* bits: how members relate to the one that is kept */
} shown_group;

static msim_groups_file file_of(const msim_groups *g, int64_t file) {
    msim_groups_file f = {.size = sizeof f};
    (void)msim_groups_get_file(g, file, &f);
    return f;
}

/* How a member relates to the one that is kept; through another member where a chain of pairs has
 * linked them. *through: that member, or -1. */
static msim_file_pair explain(const shown_group *s, int64_t member, int64_t *through) {
    msim_file_pair p;
    const int kind = msim_groups_explain(s->g, member, &p);
    *through = kind != MSIM_PAIR_NONE && p.a != s->keeper ? p.a : -1;
    return p;
}

static shown_group look_at(const msim_groups *g, int64_t number) {
    shown_group s = {.g = g, .number = number};
    s.n = msim_groups_get_members(g, number, &s.members);
    s.keeper = s.n > 0 ? file_of(g, s.members[0]).keeper : -1;
    for (int64_t i = 0; i < s.n; i++) {
        int64_t through;
        const msim_groups_file f = file_of(g, s.members[i]);
        if (s.members[i] == s.keeper) continue;
        s.kinds |= 1u << explain(&s, s.members[i], &through).kind;
        if (f.bytes < 0)
            s.saved = -1;
        else if (s.saved >= 0)
            s.saved += f.bytes;
    }
    return s;
}

/* ---- Table ---- */

static void put_kinds(const shown_group *s, char *text, size_t cap) {
    text[0] = 0;
    for (int k = MSIM_PAIR_BYTES; k < MSIM_PAIR_COUNT; k++) {
        const size_t n = strlen(text);
        if (s->kinds >> k & 1)
            snprintf(text + n, cap - n, "%s%s", n ? "," : "", msim_pair_kind_name(k));
    }
    if (!text[0]) snprintf(text, cap, "-");
}

static void print_row(ms_grouping_out *out, const shown_group *s) {
    char kinds[80], saved[32] = "-";
    const msim_groups_file f = file_of(s->g, s->keeper);
    put_kinds(s, kinds, sizeof kinds);
    if (s->saved >= 0) ms_cli_count(saved, s->saved);
    ms_grouping_print(out, "%5lld  %5lld  %-24s  %12s  ", (long long)s->number, (long long)s->n,
                      kinds, saved);
    ms_grouping_put(out, f.name, f.name_bytes);
    ms_grouping_put(out, "\n", 1);
}

static void print_heads(ms_grouping_out *out) {
    if (!out->is_file) (void)ms_cli_style(MS_CLI_DIM);
    ms_grouping_print(out, "group  files  %-24s  %12s  keep\n", "kinds", "saves bytes");
    if (!out->is_file) (void)ms_cli_style(MS_CLI_PLAIN);
}

/* ---- TSV ---- */

static void print_member(ms_grouping_out *out, const shown_group *s, int64_t member) {
    char reason[MS_GROUPS_REASON] = "";
    int64_t through = -1;
    msim_file_pair p = {.kind = MSIM_PAIR_NONE};
    const bool is_kept = member == s->keeper;
    const msim_groups_file f = file_of(s->g, member);
    if (!is_kept) p = explain(s, member, &through);
    if (p.kind) ms_grouping_reason(&p, reason);
    ms_grouping_print(out, "%lld\t%s\t%s\t", (long long)s->number,
                      p.kind ? msim_pair_kind_name(p.kind) : "-", is_kept ? "keep" : "drop");
    ms_grouping_cell(out, f.name, f.name_bytes);
    ms_grouping_print(out, "\t%s", reason);
    if (through >= 0) {
        const msim_groups_file t = file_of(s->g, through);
        ms_grouping_print(out, ", by way of ");
        ms_grouping_cell(out, t.name, t.name_bytes);
    }
    ms_grouping_put(out, "\n", 1);
}

/* ---- JSON ---- */

static void put(ms_json_text *line, const char *text) { ms_json_put(line, text, strlen(text)); }

static void put_member(ms_json_text *line, const shown_group *s, int64_t member, bool is_first) {
    char text[120];
    int64_t through = -1;
    msim_file_pair p = {.kind = MSIM_PAIR_NONE};
    const msim_groups_file f = file_of(s->g, member);
    if (member != s->keeper) p = explain(s, member, &through);
    put(line, is_first ? "{\"name\":" : ",{\"name\":");
    ms_json_put_string(line, f.name, f.name_bytes);
    snprintf(text, sizeof text, ",\"keep\":%s,\"kind\":\"%s\",\"seconds\":%.3f,\"bytes\":%lld",
             member == s->keeper ? "true" : "false", p.kind ? msim_pair_kind_name(p.kind) : "",
             f.seconds, (long long)f.bytes);
    put(line, text);
    if (p.kind) ms_grouping_put_evidence(&p, line);
    if (through >= 0) {
        const msim_groups_file t = file_of(s->g, through);
        put(line, ",\"through\":");
        ms_json_put_string(line, t.name, t.name_bytes);
    }
    put(line, "}");
}

static int print_json(ms_grouping_out *out, const shown_group *s, msim_error *err) {
    ms_json_text line = {0};
    char text[64];
    const msim_groups_file f = file_of(s->g, s->keeper);
    snprintf(text, sizeof text, "{\"group\":%lld,\"keep\":", (long long)s->number);
    put(&line, text);
    ms_json_put_string(&line, f.name, f.name_bytes);
    snprintf(text, sizeof text, ",\"saves\":%lld,\"members\":[", (long long)s->saved);
    put(&line, text);
    for (int64_t i = 0; i < s->n; i++) put_member(&line, s, s->members[i], i == 0);
    put(&line, "]}\n");
    const int rc = ms_json_text_failed(&line, err);
    if (rc >= 0) ms_grouping_put(out, line.data, line.n);
    ms_json_text_free(&line);
    return rc;
}

/* ---- All ---- */

static int print_all(const ms_grouping_settings *s, const msim_groups *g, ms_grouping_out *out,
                     msim_error *err) {
    msim_groups_info info = {.size = sizeof info};
    int rc = 0;
    (void)msim_groups_get_info(g, &info);
    const int64_t n = info.groups + (s->is_all ? info.singles : 0);
    if (s->format == MS_GROUPS_TABLE && n) print_heads(out);
    if (s->format == MS_GROUPS_TSV) ms_grouping_print(out, "group\tkind\tkeep\tname\treason\n");
    for (int64_t i = 1; i <= n && rc >= 0; i++) {
        const shown_group shown = look_at(g, i);
        if (s->format == MS_GROUPS_TABLE)
            print_row(out, &shown);
        else if (s->format == MS_GROUPS_JSON)
            rc = print_json(out, &shown, err);
        else
            for (int64_t m = 0; m < shown.n; m++) print_member(out, &shown, shown.members[m]);
    }
    return rc;
}

int ms_grouping_print_groups(const ms_grouping_settings *s, const msim_groups *g, msim_error *err) {
    ms_grouping_out out;
    int rc = ms_grouping_out_open(&out, s->output, err);
    if (rc >= 0) rc = print_all(s, g, &out, err);
    if (rc >= 0) rc = ms_grouping_out_finish(&out, err);
    ms_grouping_out_close(&out);
    return rc;
}
