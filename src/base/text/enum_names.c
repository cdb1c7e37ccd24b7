/* The words for the values of include/midisim.h's enums, as the tools spell them and files hold
 * them. */
#include "midisim.h"

#define COUNT(names) ((int)(sizeof(names) / sizeof *(names)))

const char *msim_status_name(int rc) {
    static const char *const names[] = {"ok",     "argument", "io",          "format", "limit",
                                        "memory", "device",   "unsupported", "empty",  "stopped"};
    unsigned code = rc < 0 ? 0u - (unsigned)rc : (unsigned)rc;
    return code < sizeof names / sizeof *names ? names[code] : "unknown";
}

const char *msim_precision_name(int precision) {
    static const char *const names[] = {"bf16", "f32", "int8"};
    return precision >= 0 && precision < COUNT(names) ? names[precision] : NULL;
}

const char *msim_stage_name(int stage) {
    static const char *const names[MSIM_STAGE_COUNT] = {"norms", "projections", "attention",
                                                        "feed-forward", "pooling"};
    return stage >= 0 && stage < COUNT(names) ? names[stage] : NULL;
}

const char *msim_dtype_name(int dtype) {
    static const char *const names[] = {"f32", "f16", "bf16", "f64"};
    return dtype >= 0 && dtype < COUNT(names) ? names[dtype] : NULL;
}

const char *msim_format_name(int format) {
    static const char *const names[] = {"structured", "plain", "pickled", "fvecs", "fbin"};
    return format >= 0 && format < COUNT(names) ? names[format] : NULL;
}

const char *msim_likeness_name(int likeness) {
    static const char *const names[] = {"unknown", "unrelated", "alike", "version", "same"};
    return likeness >= 0 && likeness < COUNT(names) ? names[likeness] : NULL;
}

const char *msim_scan_name(int scan) {
    static const char *const names[] = {"auto", "f64", "f32", "bf16", "int8"};
    return scan >= 0 && scan < COUNT(names) ? names[scan] : NULL;
}

const char *msim_family_name(int family) {
    static const char *const names[] = {"midisim", "midisimx"};
    return family >= 0 && family < COUNT(names) ? names[family] : NULL;
}

const char *msim_token_order_name(int order) {
    static const char *const names[] = {"time-first", "chord-first"};
    return order >= 0 && order < COUNT(names) ? names[order] : NULL;
}
