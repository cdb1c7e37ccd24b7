/* Programs that embed with the small checkpoint of test/data: the model, open while the tests run,
 * a folder for their files, and two pieces to copy into it. */
#ifndef TEST_SUPPORT_TINY_H
#define TEST_SUPPORT_TINY_H
#include "midisim.h"
#include "support/files.h"
#include "support/ok.h"

#define CHECKPOINT "test/data/checkpoints/tiny.safetensors"
#define LONG "test/data/midi/freedink/love.mid"
#define OTHER "test/data/midi/freedink/lively.mid"

static msim_model *model;
static msim_options options;
static int64_t dim;
static msim_error err;

static inline int tiny_open(void **state) {
    msim_model_info info = {.size = sizeof info};
    options = msim_options_default();
    options.device = MSIM_DEVICE_CPU;
    options.threads = 2;
    if (folder_open(state) < 0 || msim_model_open(CHECKPOINT, &options, &model, &err) < 0)
        return -1;
    msim_model_get_info(model, &info);
    dim = info.dim;
    return 0;
}

static inline int tiny_close(void **state) {
    msim_model_close(model);
    return folder_close(state);
}

typedef struct {
    unsigned char *bytes; /* owned */
    size_t n;
} file;

static inline file load(const char *path) {
    file f;
    f.bytes = read_file(path, &f.n);
    assert_non_null(f.bytes);
    return f;
}

static inline void copy_file(const char *from, const char *to) {
    file f = load(from);
    assert_true(f.n > 0);
    write_file(to, f.bytes, f.n);
    free(f.bytes);
}

#endif
