/* Contract: tools/common/json.h. */
#include "json.h"
#include "cli.h"
#include "base/mem.h"
#include <errno.h>
#include <string.h>

int ms_cli_write_json(const cJSON *value) {
    char *line = ms_json_print(value);
    if (!line) return ms_cli_output_failed(ENOMEM);
    int rc = ms_cli_write(line, strlen(line));
    if (rc == 0) rc = ms_cli_write("\n", 1);
    ms_free(line);
    return rc;
}

int ms_cli_write_json_text(const ms_json_text *text) {
    if (ms_json_text_failed(text, NULL) < 0) return ms_cli_output_failed(ENOMEM);
    return ms_cli_write(text->data, text->n);
}
