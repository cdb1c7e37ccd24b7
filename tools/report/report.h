/* Between the files of midisim-report: what was asked for. */
#ifndef MS_TOOLS_REPORT_REPORT_H
#define MS_TOOLS_REPORT_REPORT_H
#include "common/cli.h"

typedef struct {
    ms_cli_common common;
    const char *output, *index, *map, *layout, *title;
    ms_cli_texts roots;
    int64_t top, points;
    double evalue;
} ms_reporting_settings;

extern const ms_cli_tool ms_reporting_tool;
/* The combinations that mean nothing are refused. */
int ms_reporting_check(const ms_reporting_settings *settings);

#endif
