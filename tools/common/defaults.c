/* What a tool takes when an option does not say: threads, library options, the model. Contract:
 * tools/common/cli.h. */
#include "cli.h"
#include "base/pool.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

int ms_cli_threads(const ms_cli_common *common) {
    return common->threads ? (int)common->threads : ms_pool_processors();
}

msim_options ms_cli_library_options(const ms_cli_common *common) {
    msim_options o = msim_options_default();
    o.device = common->device;
    o.gpu = common->gpu;
    o.threads = ms_cli_threads(common);
    o.isa = common->isa;
    o.precision = common->precision;
    return o;
}

int ms_cli_n_pool_weights(const float *weights, bool is_given) {
    int n = 0;
    while (n < MS_CLI_POOL_WEIGHTS && !isnan(weights[n])) n++;
    return is_given ? n : 0;
}

int ms_cli_check_clean(bool is_clean, bool is_unclean) {
    return is_clean && is_unclean
               ? ms_cli_usage("--clean and --no-clean are contrary: give one of them")
               : 0;
}

char *ms_cli_device_words(char *buf, int device, int gpu) {
    msim_gpu_info info = {.size = sizeof info};
    int n = msim_gpu_count();
    if (device != MSIM_DEVICE_CUDA)
        snprintf(buf, MS_CLI_DEVICE_BYTES, "cpu");
    else if (msim_gpu_get_info(gpu < 0 ? 0 : gpu, &info, NULL) < 0)
        snprintf(buf, MS_CLI_DEVICE_BYTES, "cuda");
    else if (gpu < 0 && n > 1)
        snprintf(buf, MS_CLI_DEVICE_BYTES, "cuda (%d devices, %s)", n, info.name);
    else
        snprintf(buf, MS_CLI_DEVICE_BYTES, "cuda (%s)", info.name);
    return buf;
}

int ms_cli_model_path(const ms_cli_common *common, char *path, size_t cap, msim_error *err) {
    static const char found_nothing[] = "no model: expected ";
    const size_t n = sizeof found_nothing - 1;
    msim_error e;
    if (common->model) {
        if ((size_t)snprintf(path, cap, "%s", common->model) < cap) return 0;
        return ms_fail(err, MSIM_E_LIMIT, "model: expected a path of under %zu bytes, got %zu", cap,
                       strlen(common->model));
    }
    int rc = msim_default_model(path, cap, &e);
    if (rc >= 0) return 0;
    return strncmp(e.text, found_nothing, n) == 0
               ? ms_fail(err, -rc, "%s-m FILE, %.440s", found_nothing, e.text + n)
               : ms_fail(err, -rc, "%s", e.text);
}
