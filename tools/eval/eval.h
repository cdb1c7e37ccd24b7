/* midisim-eval: what was asked for. */
#ifndef MS_TOOLS_EVAL_EVAL_H
#define MS_TOOLS_EVAL_EVAL_H
#include "common/cli.h"

enum ms_eval_join { MS_EVAL_JOIN_BEST, MS_EVAL_JOIN_MEAN };
enum ms_eval_format { MS_EVAL_PAIRS, MS_EVAL_GROUPS };

typedef struct {
    ms_cli_common common;
    const char *truth, *pattern, *csv, *keep;
    ms_cli_texts queries;
    int truth_format; /* ms_eval_format; -1: as the file says */
    int join;         /* ms_eval_join */
    int64_t resamples;
    bool includes_self, is_json;
} ms_eval_settings;

#endif
