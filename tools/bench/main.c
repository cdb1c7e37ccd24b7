/* midisim-bench: how fast each part is here, beside what the machine can do. The parts are
 * bench_*.c; docs/SPEED.md says how to measure. */
#include "bench.h"
#include <string.h>

static const ms_cli_option options[] = {
    {.name = "rounds",
     .letter = 'r',
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = MS_BENCH_MAX_ROUNDS,
     .offset = offsetof(ms_bench_settings, rounds),
     .help = "how often each case is run after a warm-up (default 5)",
     .brief = "how often each case is run (default 5)"},
    {.name = "json",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_bench_settings, is_json),
     .help = "print one JSON object per case instead of a table",
     .brief = "print one JSON object per case"},
    {.name = "csv",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = offsetof(ms_bench_settings, csv),
     .help = "also append one row per figure to FILE; in a folder, to a file with the name of this "
             "machine",
     .brief = "also append the figures to FILE"},
    {.name = "devices",
     .kind = MS_CLI_TEXT,
     .value = "DEVICE,...",
     .offset = offsetof(ms_bench_settings, devices),
     .help = "encoder, search, embed: measure each of these devices in turn, written as for "
             "--device. A device that does not open is reported, the others are measured, and the "
             "exit code is 1"},
    {.name = "lengths",
     .kind = MS_CLI_TEXT,
     .value = "L,...",
     .offset = offsetof(ms_bench_settings, lengths),
     .help = "encoder: tokens in a sequence (default 512,1024,2048,3072)",
     .brief = "encoder: tokens in a sequence"},
    {.name = "tokens",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = offsetof(ms_bench_settings, tokens),
     .help = "encoder: instead of --lengths, use the sequences that midisim-tokens printed, in "
             "batches by length; - reads standard input"},
    {.name = "batch",
     .letter = 'b',
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 4096,
     .offset = offsetof(ms_bench_settings, batch),
     .help = "encoder: sequences per call, with --lengths (default 1)"},
    {.name = "rows",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = (int64_t)1 << 32,
     .offset = offsetof(ms_bench_settings, rows),
     .help = "search, join: rows of the corpus that is made up (default 202400)",
     .brief = "search, join: rows of the made-up corpus"},
    {.name = "dim",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 65536,
     .offset = offsetof(ms_bench_settings, dim),
     .help = "search, join: width of these rows (default 512)"},
    {.name = "queries",
     .kind = MS_CLI_TEXT,
     .value = "N,...",
     .offset = offsetof(ms_bench_settings, queries),
     .help = "search: queries per call (default 1,12)"},
    {.name = "scan",
     .kind = MS_CLI_TEXT,
     .value = "SCAN,...",
     .offset = offsetof(ms_bench_settings, scan),
     .help = "search: scans to compare, in turns: f64 (every row in double), f32, bf16, int8 "
             "(default: what a search uses without quantised rows). Quantised rows are made first, "
             "in TMPDIR"},
    {.name = "top",
     .letter = 'k',
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 1000000,
     .offset = offsetof(ms_bench_settings, top),
     .help = "search: matches of each query (default 16)"},
    {.name = "threshold",
     .kind = MS_CLI_REAL,
     .value = "S",
     .offset = offsetof(ms_bench_settings, threshold),
     .help = "join: pairs that score S or more (default 0.95)"},
    MS_CLI_ROW_MAX_TOKENS(
        ms_bench_settings, (int64_t)1 << 30,
        "embed, encoder --tokens: use the first N tokens of each piece (default " MS_CLI_TOKENS
        "; 0: all of them)"),
    {.name = "megabytes",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 1048576,
     .offset = offsetof(ms_bench_settings, megabytes),
     .help = "how much memory the measurement of reading passes over (default 512, or four times "
             "the last cache)"},
    {.name = "no-roof",
     .kind = MS_CLI_FLAG,
     .offset = offsetof(ms_bench_settings, is_without_roof),
     .help = "encoder, search, join: do not measure the machine's limit"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-bench roof", "this machine's limits, for one thread and for all"},
    {"midisim-bench encoder --lengths 512,3072 --batch 4", "the encoder and its stages"},
    {"midisim-tokens midi/ | midisim-bench encoder --tokens -", "the encoder on real pieces"},
    {"midisim-bench encoder --device cuda --json", "on the GPU, as JSON"},
    {"midisim-bench search --devices cpu,cuda --scan f32,int8", "processor and GPU in one table"},
    {"midisim-bench tokens midi/", "the tokeniser on files in memory, on one core and on all"},
    {"midisim-bench notes midi/", "the note index: building, and searches of four lengths"},
    {"midisim-bench search --rows 1000000 --queries 12", "exact search of a made corpus"},
    {"midisim-bench search --scan f64,f32,bf16,int8 --rounds 15",
     "what leaving out rows by proof saves"},
    {"midisim-bench join --rounds 1", "all pairs of a made corpus that are alike"},
    {"midisim-bench embed midi/", "the whole pipeline, and each half alone"},
    {0}};

static const ms_cli_tool tool = {
    .name = "midisim-bench",
    .purpose =
        "Measures how fast each part of midisim is here, beside what the machine can do at best.",
    .summary = "measure the speed of midisim and of this machine",
    .usage = "roof [options]\nencoder [-m MODEL] [options]\ntokens | notes [options] PATH...\n"
             "search | join [options] [CORPUS.npy]\nembed [-m MODEL] [options] PATH...",
    .description =
        "The first operand says what to measure; options of other parts have no effect. Each case "
        "runs once to warm up and then --rounds times. A figure is that of the best round, with "
        "the median in parentheses (in JSON: NAME and NAME_median).\n\n"
        "FLOPs of a sequence of L tokens (a multiply-add is 2): depth x (2 (4 dim inner + 8 dim^2) "
        "L + 4 inner L^2), inner = 64 x heads. The share of the roof compares with the "
        "multiply-adds of the level in use, on as many threads, measured in the same run. Stages "
        "count the seconds that threads spend inside them.\n\n"
        "Run it with nothing else on the machine.",
    .examples = examples,
    .options = options,
    .uses_model = true,
    .exits = "an input or the model could not be used, or the output could not be written"};

static const struct {
    const char *name;
    int (*run)(const ms_bench_settings *s);
    bool has_paths, has_corpus, has_devices;
} commands[] = {{"roof", ms_bench_limits, false, false, false},
                {"encoder", ms_bench_encoder, false, false, true},
                {"tokens", ms_bench_tokens, true, false, false},
                {"notes", ms_bench_notes, true, false, false},
                {"search", ms_bench_search, false, true, true},
                {"join", ms_bench_join, false, true, false},
                {"embed", ms_bench_embed, true, false, true}};

/* Whether the device of the settings opens; < 0 having said why not. */
static int try_device(const ms_bench_settings *s) {
    msim_options wanted = ms_cli_library_options(&s->common);
    msim_context *context;
    msim_error err;
    int rc = msim_context_open(NULL, &wanted, &context, &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        return ms_cli_as_failure(rc);
    }
    msim_context_close(context);
    return 0;
}

/* Settings for each of --devices, or the one given. Returns how many; < 0 having said why not. */
static int split_devices(const ms_bench_settings *s, ms_bench_settings *each, int cap) {
    char one[32];
    int n = 0;
    each[0] = *s;
    if (!s->devices) return 1;
    if (s->common.device != MSIM_DEVICE_AUTO)
        return ms_cli_usage("--devices and --device cannot be combined: give one of them");
    for (const char *at = s->devices;; at++) {
        size_t len = strcspn(at, ",");
        if (n == cap || len >= sizeof one)
            return ms_cli_usage("--devices: expected up to %d devices separated by commas, got %s",
                                cap, s->devices);
        memcpy(one, at, len);
        one[len] = 0;
        each[n] = *s;
        int rc = ms_cli_device("--devices", one, &each[n].common);
        if (rc < 0) return rc;
        n++;
        at += len;
        if (!*at) return n;
    }
}

/* The command that the first operand names, its operands left in the settings; < 0 having said what
 * is wrong. */
static int choose(ms_bench_settings *s) {
    int n_commands = (int)(sizeof commands / sizeof *commands), c = 0;
    if (s->common.operands.n == 0)
        return ms_cli_usage("no command: give roof, encoder, tokens, notes, search, join or embed");
    const char *name = s->common.operands.items[0];
    while (c < n_commands && strcmp(commands[c].name, name) != 0) c++;
    if (c == n_commands)
        return ms_cli_usage(
            "command: expected roof, encoder, tokens, notes, search, join or embed, got %s", name);
    s->common.operands.items++; /* the rest is the command's */
    size_t n = --s->common.operands.n;
    if (commands[c].has_paths && n == 0) return ms_cli_usage("%s: no input: give a PATH", name);
    if (!commands[c].has_paths && n > commands[c].has_corpus)
        return ms_cli_usage("%s takes %s: leave out %s", name,
                            commands[c].has_corpus ? "one CORPUS.npy" : "no PATH",
                            s->common.operands.items[commands[c].has_corpus]);
    if (s->tokens && ms_cli_given(&tool, s, "lengths"))
        return ms_cli_usage("--tokens and --lengths cannot be combined: give one of them");
    return c;
}

static int run(ms_bench_settings *s, int argc, char **argv) {
    enum { MAX_DEVICES = 8 };
    static ms_bench_settings each[MAX_DEVICES];
    int c = choose(s), n_devices = c < 0 ? c : split_devices(s, each, MAX_DEVICES), rc = 0;
    if (n_devices < 0) return n_devices;
    if (!commands[c].has_devices) n_devices = 1;
    ms_cli_catch_signals();
    if (!ms_bench_output_open(s, argc, argv)) return -MSIM_E_IO;
    for (int i = 0; i < n_devices && !ms_cli_stopped(); i++) {
        int one = n_devices > 1 ? try_device(&each[i]) : 0;
        if (one >= 0) one = commands[c].run(&each[i]);
        if (one < 0) rc = one;
    }
    if (!ms_bench_output_close() && rc >= 0) rc = -MSIM_E_IO;
    return rc;
}

int main(int argc, char **argv) {
    static ms_bench_settings s = {.lengths = "512,1024,2048,3072",
                                  .queries = "1,12",
                                  .batch = 1,
                                  .rounds = 5,
                                  .rows = 202400,
                                  .dim = 512,
                                  .top = 16,
                                  .threshold = 0.95,
                                  .max_tokens = MSIM_TRAINED_TOKENS};
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    return ms_cli_finish(rc == 0 ? run(&s, argc, argv) : rc);
}
