/* Between the files of midisim-groups: what was asked for, and what is printed and done. */
#ifndef MS_TOOLS_GROUPS_GROUPS_H
#define MS_TOOLS_GROUPS_GROUPS_H
#include "base/file.h"
#include "base/text/json.h"
#include "common/cli.h"
#include "common/tree.h"

enum ms_grouping_format { MS_GROUPS_TABLE, MS_GROUPS_TSV, MS_GROUPS_JSON };
enum { MS_GROUPS_MAX_SIDES = 16, MS_GROUPS_LEAKS = 3 /* exit code: there are leaks */ };

typedef struct {
    ms_cli_common common;
    const char *files_from, *kinds, *keep, *output, *pairs, *keep_list, *drop_list, *move, *links,
        *split, *lists, *state, *skipped, *link_text, *html;
    ms_cli_texts against, roots;
    double evalue, alike;
    int64_t seed;
    int format, stratify, split_by;
    bool is_nul_separated, is_leaks, is_all, is_json, is_tsv, is_dry;
    /* Read from the texts by ms_grouping_check. */
    int kind_bits, link, keeper;
    double shares[MS_GROUPS_MAX_SIDES];
    int n_sides;
    ms_cli_texts preferences;
} ms_grouping_settings;

extern const ms_cli_tool ms_grouping_tool;
/* The combinations and texts that mean nothing are refused, the others read. */
int ms_grouping_check(ms_grouping_settings *settings);

/* ---- Outputs that would replace what is read: refused ---- */

/* Before the work: inputs that were named, the state, what lies beside `work`; and two outputs of
 * one name. */
int ms_grouping_check_inputs(const ms_grouping_settings *s, const char *work, msim_error *err);
/* Before anything is written: files of the collection. */
int ms_grouping_check_files(const ms_grouping_settings *s, const msim_groups *g, msim_error *err);

/* ---- Output: standard output, or a file that is there whole or not at all ---- */

typedef struct {
    ms_out_file file;
    bool is_file;
} ms_grouping_out;

/* path NULL: standard output. Close it also when this fails. */
int ms_grouping_out_open(ms_grouping_out *out, const char *path, msim_error *err);
/* A failure is kept until the end. */
void ms_grouping_put(ms_grouping_out *out, const char *bytes, size_t n);
void ms_grouping_print(ms_grouping_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ms_grouping_cell(ms_grouping_out *out, const char *text, size_t n); /* of TSV */
int ms_grouping_out_finish(ms_grouping_out *out, msim_error *err);
void ms_grouping_out_close(ms_grouping_out *out);

/* ---- Texts ---- */

/* Why b is with a, for people; MS_GROUPS_REASON bytes. */
enum { MS_GROUPS_REASON = 200 };
void ms_grouping_reason(const msim_file_pair *pair, char text[MS_GROUPS_REASON]);
/* ,"notes":N,...: the evidence of a pair as members of a JSON object. */
void ms_grouping_put_evidence(const msim_file_pair *pair, ms_json_text *line);

/* The name of a side of a split, which may be in text. */
const char *ms_grouping_side_name(const ms_grouping_settings *s, int side, char text[16]);

/* ---- Results ---- */

int ms_grouping_print_groups(const ms_grouping_settings *s, const msim_groups *g, msim_error *err);
/* Files of the second collection that are in the first. Returns how many. */
int64_t ms_grouping_print_leaks(const ms_grouping_settings *s, const msim_groups *g,
                                msim_error *err);
int ms_grouping_print_split(const ms_grouping_settings *s, const msim_groups *g, msim_error *err);
/* --pairs, --keep-list, --drop-list, --skipped. */
int ms_grouping_write_lists(const ms_grouping_settings *s, const msim_groups *g, msim_error *err);
/* A list that --files-from takes: the files for which is_in returns true. */
int ms_grouping_write_list(const char *path, bool is_nul_separated, const msim_groups *g,
                           bool (*is_in)(void *user, int64_t file, const msim_groups_file *f),
                           void *user, msim_error *err);
/* --move and --links. */
int ms_grouping_act(const ms_grouping_settings *s, const msim_groups *g, msim_error *err);

#endif
