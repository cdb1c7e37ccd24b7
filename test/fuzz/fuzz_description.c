/* A description (CORPUS.npy.json): what it says, its sources, and that what is printed of it is
 * read back as the same. */
#include "target.h"
#include "pipeline/disk/description.h"
#include "base/mem.h"

static volatile unsigned sum;

static void read_sources(const char *corpus) {
    msim_error err = {.code = 0};
    for (int64_t rows = 0; rows < 5; rows++) {
        ms_source *sources;
        int rc = ms_description_read_sources(corpus, rows, &sources, &err);
        check_status(rc, &err);
        if (rc != 1) continue;
        for (size_t i = 0; i < (size_t)rows * sizeof *sources; i++)
            sum += ((unsigned char *)sources)[i];
        ms_free(sources);
    }
    size_t n;
    char *text = ms_description_read_text(corpus, &n, &err);
    MUST(text || err.text[0]);
    for (size_t i = 0; text && i < n; i++) sum += (unsigned char)text[i];
    ms_free(text);
}

static void print_and_parse(ms_description *d) {
    msim_error err = {.code = 0};
    ms_description again;
    char what[300] = "";
    memset(&again, 0, sizeof again);
    char *text = ms_description_print(d, &err);
    MUST(text != NULL);
    MUST(ms_description_parse(text, strlen(text), "again", &again, &err) == 1);
    MUST(!ms_description_differs(d, &again, what, sizeof what));
    MUST(d->rows == again.rows && d->files == again.files && d->unread == again.unread);
    ms_free(text);
    ms_description_add_level(d, "avx2");
    MUST(ms_description_has_level(d, d->level));
    ms_description_add_levels(d, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX], corpus[PATH_MAX];
    ms_description d;
    msim_error err = {.code = 0};
    memset(&d, 0, sizeof d);
    as_file(path, "c.npy.json", data, n_bytes);
    int rc = ms_description_read(fuzz_path(corpus, "c.npy"), &d, &err);
    check_status(rc, &err);
    read_sources(corpus);
    if (rc == 1) print_and_parse(&d);
    return 0;
}
