/* The small copies of midisim-search's corpus. Contract: tools/search.h. */
#define _GNU_SOURCE
#include "search.h"

int ms_search_attach_copies(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    if (set->prepares || set->cache || set->scan == MSIM_SCAN_BF16 || set->scan == MSIM_SCAN_INT8)
        return ms_cli_usage("small copies of the rows: this version writes and reads none");
    return -1;
}
