/* The account of input files that gave nothing: counts by reason, error lines for the first few
 * failures, and the TSV file of --skipped. One thread. */
#ifndef MS_TOOLS_COMMON_SKIPS_H
#define MS_TOOLS_COMMON_SKIPS_H
#include "midisim.h"
#include <stdbool.h>

typedef struct ms_cli_skips ms_cli_skips;

/* tsv_path may be NULL. list: that of --files-from, or NULL. Returns < 0 when the TSV cannot be
 * written, or would take the place of something else: common/texts/output.h. */
int ms_cli_skips_open(const char *tsv_path, const char *list, ms_cli_skips **out, msim_error *err);
/* is_failure: as in msim_skip. */
void ms_cli_skips_add(ms_cli_skips *skips, const char *path, int reason, const char *detail,
                      bool is_failure);
int64_t ms_cli_skips_total(const ms_cli_skips *skips);
int64_t ms_cli_skips_failures(const ms_cli_skips *skips); /* those that make the exit code 1 */
/* "no-notes 12, bad-midi 3" into text; empty when nothing was skipped. */
void ms_cli_skips_describe(const ms_cli_skips *skips, char *text, size_t cap);
/* Says how many failures were not shown, closes the TSV. Returns < 0 when it could not be written
 * whole. */
int ms_cli_skips_close(ms_cli_skips *skips, msim_error *err);

#endif
