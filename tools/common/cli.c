/* Parsing of options as GNU getopt does it (long and short, --name=value, unambiguous beginnings,
 * -k5, "--", operands anywhere), and strict values. Everything is decided by the option tables; a
 * wrong command line is refused before any work. Contract: tools/common/cli.h. */
#define _GNU_SOURCE
#include "cli.h"
#include "console.h"
#include "common/texts/spelling.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const ms_cli_option model_row = {
    .name = "model",
    .letter = 'm',
    .kind = MS_CLI_TEXT,
    .value = "FILE",
    .help = "the model, a .safetensors or .pth file (default: MIDISIM_MODEL, else a model in the "
            "build tree's weights folder, $XDG_DATA_HOME/midisim or PREFIX/share/midisim; there "
            "midisim-small.* comes before others)",
    .brief = "the model (default: the one that is installed)",
    .offset = offsetof(ms_cli_common, model)};

/* Row 0 is left for the model. */
static const ms_cli_option common_rows[] = {
    {.name = "device",
     .kind = MS_CLI_DEVICE,
     .value = "auto|cpu|cuda[:N|:all]",
     .help = "where the model runs and rows are searched (default auto: the first GPU that can do "
             "what is asked, else the CPU); cuda:all divides the work among all GPUs, with the "
             "same answer"},
    {.name = "isa",
     .kind = MS_CLI_LEVEL, /* choices and help: describe_levels */
     .value = "LEVEL",
     .offset = offsetof(ms_cli_common, isa)},
    {.name = "precision",
     .kind = MS_CLI_CHOICE,
     .value = "bf16|f32|int8",
     .choices = "bf16|f32|int8",
     .help =
         "numbers that the model computes with (default bf16); f32 needs a model stored in f32; "
         "int8 (linear layers in 8-bit integers) is faster and less exact, and beyond level avx2 "
         "it needs a CPU with AVX512_VNNI",
     .offset = offsetof(ms_cli_common, precision)},
    {.name = "threads",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 1024,
     .help = "how many threads, 1..1024 (default: MIDISIM_THREADS, else one for each processor)",
     .offset = offsetof(ms_cli_common, threads)},
    {.name = "quiet",
     .letter = 'q',
     .kind = MS_CLI_FLAG,
     .help = "show no progress and no summary; warnings and errors are still shown",
     .offset = offsetof(ms_cli_common, quiet)},
    {.name = "help",
     .letter = 'h',
     .kind = MS_CLI_FLAG,
     .help = "-h shows the usual options, --help all of them",
     .offset = SIZE_MAX},
    {.name = "version",
     .kind = MS_CLI_FLAG,
     .help = "show the version, the commit, and the kernel levels and devices compiled in",
     .offset = SIZE_MAX},
    {0}};

/* "auto", then the levels of this build. */
static void list_levels(char *out, size_t cap, const char *between, const char *before_last) {
    size_t at = (size_t)snprintf(out, cap, "auto");
    for (int i = 0, isa; (isa = msim_isa_list(i)) > 0 && at < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, "%s%s",
                               msim_isa_list(i + 1) > 0 ? between : before_last,
                               msim_isa_name(isa));
}

/* The row of --isa tells of the levels that the library has. */
static void describe_levels(ms_cli_option *row) {
    static char choices[160], names[200], help[280];
    list_levels(choices, sizeof choices, "|", "|");
    list_levels(names, sizeof names, ", ", " or ");
    snprintf(help, sizeof help,
             "the instructions to use on the CPU: %s (default auto: the best that it has)", names);
    row->choices = choices;
    row->help = help;
}

const ms_cli_option *ms_cli_common_options(const ms_cli_tool *tool) {
    static ms_cli_option rows[sizeof common_rows / sizeof *common_rows + 1];
    rows[0] = model_row;
    memcpy(rows + 1, common_rows, sizeof common_rows);
    for (ms_cli_option *row = rows; row->name; row++)
        if (row->kind == MS_CLI_LEVEL) describe_levels(row);
    return tool->uses_model ? rows : rows + 1;
}

const ms_cli_option *ms_cli_shown_options(const ms_cli_tool *tool) {
    const ms_cli_option *row = ms_cli_common_options(tool);
    if (tool->has_no_kernels || tool->has_no_threads)
        while (strcmp(row->name, tool->has_no_threads ? "quiet" : "threads") != 0) row++;
    return row;
}

/* ---- Values ---- */

bool ms_cli_int(const char *text, int64_t min, int64_t max, int64_t *out) {
    char *end;
    if (!(*text >= '0' && *text <= '9') &&
        !((*text == '-' || *text == '+') && text[1] >= '0' && text[1] <= '9'))
        return false; /* strtoll would skip blanks */
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end || value < min || value > max) return false;
    *out = value;
    return true;
}

static bool parse_real(const char *text, const char *ends, double *out, const char **rest) {
    char *end;
    if (!strchr("+-.0123456789", *text) || !*text) return false;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || !strchr(ends, *end) || !isfinite(value)) return false;
    *out = value;
    *rest = end;
    return true;
}

int ms_cli_texts_add(ms_cli_texts *list, const char *text) {
    msim_error err;
    int rc = ms_grow((void **)&list->items, &list->cap, list->n + 1, sizeof *list->items,
                     "command line", &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        return rc;
    }
    list->items[list->n++] = text;
    return 0;
}

static int parse_choice(const char *label, const ms_cli_option *row, const char *text, int *out) {
    size_t len = strlen(text);
    int index = 0;
    for (const char *c = row->choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL, index++)
        if (strncmp(c, text, len) == 0 && len > 0 && (c[len] == '|' || c[len] == 0)) {
            *out = index;
            return 0;
        }
    return ms_cli_usage("%s: expected %s, got %s", label, row->choices, text);
}

static int parse_level(const char *label, const ms_cli_option *row, const char *text, int *out) {
    int index, rc = parse_choice(label, row, text, &index);
    if (rc >= 0) *out = index == 0 ? MSIM_ISA_AUTO : msim_isa_list(index - 1);
    return rc;
}

int ms_cli_device(const char *label, const char *text, ms_cli_common *common) {
    int64_t gpu = 0;
    if (strcmp(text, "auto") == 0)
        common->device = MSIM_DEVICE_AUTO;
    else if (strcmp(text, "cpu") == 0)
        common->device = MSIM_DEVICE_CPU;
    else if (strcmp(text, "cuda") == 0 ||
             (strncmp(text, "cuda:", 5) == 0 && ms_cli_int(text + 5, 0, 1023, &gpu)))
        common->device = MSIM_DEVICE_CUDA;
    else if (strcmp(text, "cuda:all") == 0) {
        common->device = MSIM_DEVICE_CUDA;
        gpu = MSIM_GPU_ALL;
    } else
        return ms_cli_usage("%s: expected auto, cpu, cuda, cuda:N or cuda:all, got %s", label,
                            text);
    common->gpu = (int)gpu;
    return 0;
}

static int parse_reals(const char *label, const ms_cli_option *row, const char *text, float *out) {
    const int64_t least = row->min ? row->min : row->max;
    const char *at = text;
    int64_t n = 0;
    for (double value; n < row->max; at += *at == ',') {
        if (!parse_real(at, ",", &value, &at) || !isfinite((float)value)) break;
        out[n++] = (float)value;
        if (!*at) break;
    }
    const bool is_whole = at > text && !*at && at[-1] != ',';
    for (int64_t i = n; i < row->max; i++) out[i] = NAN;
    if (is_whole && n >= least) return 0;
    if (least < row->max)
        return ms_cli_usage("%s: expected %lld or %lld numbers separated by commas, got %s", label,
                            (long long)least, (long long)row->max, text);
    return ms_cli_usage("%s: expected %lld numbers separated by commas, got %s", label,
                        (long long)row->max, text);
}

/* Put one value where its row says. < 0: what is wrong was said. */
static int set_value(const ms_cli_option *row, const char *label, const char *text,
                     void *settings) {
    void *to = (char *)settings + row->offset;
    const char *rest;
    switch (row->kind) {
    case MS_CLI_FLAG: *(bool *)to = true; return 0;
    case MS_CLI_INT:
        if (ms_cli_int(text, row->min, row->max, to)) return 0;
        return ms_cli_usage("%s: expected %lld..%lld, got %s", label, (long long)row->min,
                            (long long)row->max, text);
    case MS_CLI_REAL:
        if (parse_real(text, "", to, &rest)) return 0;
        return ms_cli_usage("%s: expected a number, got %s", label, text);
    case MS_CLI_TEXT:
    case MS_CLI_TEXTS:
        if (!*text) return ms_cli_usage("%s: the value is empty: give %s", label, row->value);
        if (row->kind == MS_CLI_TEXT)
            *(const char **)to = text;
        else
            return ms_cli_texts_add(to, text);
        return 0;
    case MS_CLI_CHOICE: return parse_choice(label, row, text, to);
    case MS_CLI_LEVEL: return parse_level(label, row, text, to);
    case MS_CLI_REALS: return parse_reals(label, row, text, to);
    case MS_CLI_DEVICE: return ms_cli_device(label, text, settings);
    }
    return 0;
}

/* What CUDA does not have, where it was asked for by name. < 0: what is wrong was said. */
static int check_device(const ms_cli_common *common) {
    if (common->device != MSIM_DEVICE_CUDA) return 0;
    if (common->precision != MSIM_PRECISION_BF16)
        return ms_cli_usage("--precision: expected bf16 with --device cuda, got %s",
                            msim_precision_name(common->precision));
    if (common->isa != MSIM_ISA_AUTO)
        return ms_cli_usage(
            "--isa %s: kernel levels are the CPU's: leave out --isa with --device cuda",
            msim_isa_name(common->isa));
    return 0;
}

/* ---- Finding options ---- */

/* All rows a tool has: its own, then the common ones. */
static const ms_cli_option *row_at(const ms_cli_tool *tool, size_t i, bool *is_common,
                                   size_t *index) {
    size_t own = 0;
    while (tool->options[own].name) own++;
    *is_common = i >= own;
    *index = *is_common ? i - own : i;
    const ms_cli_option *row = *is_common ? ms_cli_common_options(tool) + *index
                                          : tool->options + i;
    return row->name ? row : NULL;
}

static int unknown_option(const ms_cli_tool *tool, const char *shown, const char *name) {
    bool common;
    size_t index, best = SIZE_MAX;
    const char *nearest = NULL;
    for (size_t i = 0;; i++) {
        const ms_cli_option *row = row_at(tool, i, &common, &index);
        if (!row) break;
        size_t d = ms_spelling_distance(name, row->name);
        if (d < best) {
            best = d;
            nearest = row->name;
        }
    }
    if (nearest && best <= ms_spelling_limit(name))
        return ms_cli_usage("unknown option: %s: did you mean --%s?", shown, nearest);
    return ms_cli_usage("unknown option: %s", shown);
}

static int ambiguous_option(const ms_cli_tool *tool, const char *name, size_t len) {
    char list[512] = "";
    bool common;
    size_t index, at = 0;
    const ms_cli_option *row;
    for (size_t i = 0; (row = row_at(tool, i, &common, &index)); i++)
        if (strncmp(row->name, name, len) == 0 && at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s--%s", *list ? ", " : "",
                                   row->name);
    return ms_cli_usage("ambiguous option: --%.*s: expected one of %s", (int)len, name, list);
}

/* The position of a long name of `len` bytes: exact, or the only one that begins so. -1: unknown,
 * -2: several. */
static int find_long(const ms_cli_tool *tool, const char *name, size_t len) {
    bool common;
    size_t index;
    int found = -1;
    const ms_cli_option *row;
    for (int i = 0; (row = row_at(tool, (size_t)i, &common, &index)); i++) {
        if (strncmp(row->name, name, len) != 0) continue;
        if (row->name[len] == 0) return i;
        found = found == -1 ? i : -2;
    }
    return len ? found : -1;
}

typedef struct {
    const ms_cli_tool *tool;
    int argc, at;
    char **argv;
    void *settings;
    bool wants_help, wants_brief, wants_version;
} parser;

static int apply(parser *p, size_t position, const char *label, const char *text) {
    bool common;
    size_t index;
    const ms_cli_option *row = row_at(p->tool, position, &common, &index);
    ms_cli_common *to = p->settings;
    if (common)
        to->given_common |= (uint64_t)1 << index;
    else
        to->given |= (uint64_t)1 << index;
    if (row->offset == SIZE_MAX) {
        bool is_brief = strcmp(label, "-h") == 0;
        *(is_brief                         ? &p->wants_brief
          : strcmp(row->name, "help") == 0 ? &p->wants_help
                                           : &p->wants_version) = true;
        return 0;
    }
    return set_value(row, label, text, p->settings);
}

static int parse_long(parser *p, const char *arg) {
    const char *name = arg + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name), index;
    char shown[128], label[80];
    bool common;
    int position = find_long(p->tool, name, len);
    snprintf(shown, sizeof shown, "%.*s", (int)(len + 2), arg);
    if (position == -2) return ambiguous_option(p->tool, name, len);
    if (position < 0) return unknown_option(p->tool, shown, shown + 2);
    const ms_cli_option *row = row_at(p->tool, (size_t)position, &common, &index);
    snprintf(label, sizeof label, "--%s", row->name);
    if (row->kind == MS_CLI_FLAG) {
        if (equals) return ms_cli_usage("%s takes no value: leave out =%s", label, equals + 1);
        return apply(p, (size_t)position, label, NULL);
    }
    if (equals) return apply(p, (size_t)position, label, equals + 1);
    if (p->at >= p->argc) return ms_cli_usage("%s needs a value: %s", label, row->value);
    return apply(p, (size_t)position, label, p->argv[p->at++]);
}

static int parse_short(parser *p, const char *arg) {
    for (const char *c = arg + 1; *c; c++) {
        const ms_cli_option *row;
        bool common;
        size_t index, i = 0;
        char label[4] = {'-', *c, 0};
        while ((row = row_at(p->tool, i, &common, &index)) && row->letter != *c) i++;
        if (!row)
            return ms_cli_usage("unknown option: %s%s%s", label, arg[2] ? " in " : "",
                                arg[2] ? arg : "");
        if (row->kind != MS_CLI_FLAG) {
            const char *text = c[1] ? c + 1 : p->at < p->argc ? p->argv[p->at++] : NULL;
            if (!text) return ms_cli_usage("%s needs a value: %s", label, row->value);
            return apply(p, i, label, text);
        }
        int rc = apply(p, i, label, NULL);
        if (rc < 0) return rc;
    }
    return 0;
}

/* Descriptors 0 to 2 must exist, or the first file opened would become standard output. Those that
 * were closed fail: reading from 0 and writing to 1 is an error. */
static int claim_descriptors(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY) < 0) {
            ms_cli_error("cannot open: /dev/null: %s", strerror(errno));
            return -MSIM_E_IO;
        }
    return 0;
}

static int check_environment(ms_cli_common *common) {
    const char *threads = getenv("MIDISIM_THREADS");
    if (threads && *threads && !common->threads && !ms_cli_int(threads, 1, 1024, &common->threads))
        return ms_cli_usage("MIDISIM_THREADS: expected 1..1024, got %s", threads);
    return 0;
}

int ms_cli_parse(const ms_cli_tool *tool, int argc, char **argv, void *settings) {
    parser p = {.tool = tool, .argc = argc, .at = 1, .argv = argv, .settings = settings};
    ms_cli_common *common = settings;
    ms_console_set(tool->name, false);
    int rc = claim_descriptors();
    if (rc < 0) return rc;
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && ms_cli_generate(tool, argv[1])) return MS_CLI_DONE;
    for (bool options = true; p.at < argc;) {
        const char *arg = argv[p.at++];
        if (!options || arg[0] != '-' || !arg[1])
            rc = ms_cli_texts_add(&common->operands, arg);
        else if (strcmp(arg, "--") == 0)
            options = false;
        else
            rc = arg[1] == '-' ? parse_long(&p, arg) : parse_short(&p, arg);
        if (rc < 0) return rc;
        if (p.wants_help)
            ms_cli_print_help(tool);
        else if (p.wants_brief)
            ms_cli_print_brief(tool);
        else if (p.wants_version)
            ms_cli_print_version(tool);
        if (p.wants_help || p.wants_brief || p.wants_version) return MS_CLI_DONE;
    }
    ms_console_set(tool->name, common->quiet);
    rc = tool->has_no_kernels || tool->has_no_threads ? 0 : check_device(common);
    return rc < 0 ? rc : check_environment(common);
}

bool ms_cli_given(const ms_cli_tool *tool, const void *settings, const char *name) {
    const ms_cli_common *common = settings;
    bool is_common;
    size_t index;
    const ms_cli_option *row;
    for (size_t i = 0; (row = row_at(tool, i, &is_common, &index)); i++)
        if (strcmp(row->name, name) == 0)
            return (is_common ? common->given_common : common->given) >> index & 1;
    return false;
}
