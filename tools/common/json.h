/* JSON on standard output, one object per line: base/text/json.h, and what needs a tool's standard
 * output. */
#ifndef MS_TOOLS_COMMON_JSON_H
#define MS_TOOLS_COMMON_JSON_H
#include "base/text/json.h"

/* A value on one line, with the newline. 0, or -1 when nothing more can be written or there is no
 * memory for it: ms_cli_finish says which. */
int ms_cli_write_json(const cJSON *value);
/* The same for a text, as it stands. */
int ms_cli_write_json_text(const ms_json_text *text);

#endif
