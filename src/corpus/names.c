/* The names file: see names.h. */
#include "corpus/names.h"
#include "base/text/lines.h"
#include "base/mem.h"
#include "base/text/utf8.h"

int ms_names_open(const char *path, ms_names *out, msim_error *err) {
    ms_names names = {.n_names = 0};
    int rc = ms_map_open(path, MS_MAP_SEQUENTIAL, &names.map, err);
    if (rc < 0) return rc;
    const unsigned char *text = names.map.data;
    size_t n_bytes = names.map.n_bytes, n = 0;
    for (size_t i = 0; i < n_bytes; i++) n += text[i] == '\n';
    if (n_bytes && text[n_bytes - 1] != '\n') n++;
    if (!(names.ends = ms_alloc(n, sizeof *names.ends, "index of names", err))) {
        ms_map_close(&names.map);
        return -MSIM_E_MEMORY;
    }
    for (size_t i = 0; i < n_bytes; i++)
        if (text[i] == '\n') names.ends[names.n_names++] = i;
    if (names.n_names < n) names.ends[names.n_names++] = n_bytes;
    names.start = ms_lines_skip_bom((const char *)text, n_bytes);
    names.has_cr = n && names.ends[0] > 0 && text[names.ends[0] - 1] == '\r';
    *out = names;
    return MSIM_OK;
}

size_t ms_names_get(const ms_names *names, size_t i, char *buf, size_t cap) {
    size_t start = i ? (size_t)names->ends[i - 1] + 1 : names->start, end = (size_t)names->ends[i];
    const char *text = (const char *)names->map.data;
    if (names->has_cr && end > start && text[end - 1] == '\r') end--;
    return ms_utf8_copy(text + start, end > start ? end - start : 0, buf, cap);
}

void ms_names_close(ms_names *names) {
    ms_free(names->ends);
    ms_map_close(&names->map);
    names->ends = NULL;
    names->n_names = 0;
}
