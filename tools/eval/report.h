/* What midisim-eval says: one column for each corpus, as a table, JSON lines or CSV. */
#ifndef MS_TOOLS_EVAL_REPORT_H
#define MS_TOOLS_EVAL_REPORT_H
#include "rank.h"

/* On standard output. < 0 only when a measure cannot be had; that nothing can be written is found
 * out at the end. */
int ms_eval_print_table(const ms_eval_settings *set, const ms_eval_column *columns, size_t n,
                        msim_error *err);
int ms_eval_print_json(const ms_eval_settings *set, const ms_eval_column *columns, size_t n,
                       msim_error *err);
/* The file of --csv, whole or not at all. docs/QUALITY.md has its columns. */
int ms_eval_write_csv(const ms_eval_settings *set, const ms_eval_column *columns, size_t n,
                      msim_error *err);

#endif
