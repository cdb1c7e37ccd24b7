/* A library job, or a part of one, as a tool runs it: its progress is the progress line, what it
 * says goes to stderr, and a signal stops it. */
#ifndef MS_TOOLS_COMMON_WATCH_H
#define MS_TOOLS_COMMON_WATCH_H
#include "midisim.h"

/* The callbacks of msim_job_options. */
int ms_cli_job_progress(void *user, const msim_job_progress *progress);
void ms_cli_job_message(void *user, int level, const char *text);
/* The callback of other long calls, which say how many of how many are done. user: what is counted,
 * a text ("rows"). */
int ms_cli_count_progress(void *user, int64_t done, int64_t all);
/* The callback of long calls that say what they count. user: not looked at. */
int ms_cli_unit_progress(void *user, const char *unit, int64_t done, int64_t all);
/* Options of a walk with these callbacks. */
msim_walk_options ms_cli_walk_options(void);

#endif
