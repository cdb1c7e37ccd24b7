/* Contract: tools/common/texts/tsv.h. */
#include "common/texts/tsv.h"
#include "common/cli.h"
#include <string.h>

int ms_tsv_write(const char *text, size_t n) {
    int rc = 0;
    for (size_t i = 0, from = 0; i <= n && rc == 0; i++) {
        const char *escape = i == n ? "" : ms_tsv_escape(text[i]);
        if (!escape) continue;
        rc = ms_cli_write(text + from, i - from);
        if (rc == 0) rc = ms_cli_write(escape, strlen(escape));
        from = i + 1;
    }
    return rc;
}
