/* What every tool shares: one option table that drives parsing, --help, the man page and the
 * completions; messages, progress, standard output, signals, environment, exit codes. Implemented
 * by cli.c (parsing), defaults.c (what options leave open), common/texts (help, man pages and
 * completions) and common/console.c (everything that is said).
 *
 * A tool's settings are one struct that begins with ms_cli_common; a table row says at which offset
 * a value goes. Text values are borrowed from argv or the environment. Parsing is for one thread;
 * messages and the progress line may come from any thread.
 *
 * For the build: `midisim-X --generate-man` prints the man page (section 1, troff), and
 * --generate-completion (bash), --generate-zsh and --generate-fish print completions. For the front
 * command, --generate-summary prints one line about the tool. For tests, --generate-levels prints a
 * line for each kernel level of this build and precision:
 * level, precision, yes or no (has this CPU got it), what it asks of the CPU in the words of
 * /proc/cpuinfo, with tabs between. They are no part of the options that users see.
 *
 *   typedef struct { ms_cli_common common; int64_t k; const char *out; } settings;
 *   static const ms_cli_option options[] = {
 *       {.name = "top", .letter = 'k', .kind = MS_CLI_INT, .value = "N",
 *        .help = "matches to show (default 16)", .offset = offsetof(settings, k),
 *        .min = 1, .max = 10000},
 *       {0}};
 *   static settings s = {.k = 16};  (static: its lists live as long as the process)
 *   int rc = ms_cli_parse(&tool, argc, argv, &s);
 *   if (rc != 0) return ms_cli_finish(rc); */
#ifndef MS_TOOLS_COMMON_CLI_H
#define MS_TOOLS_COMMON_CLI_H
#include "base/status.h"
#include "midisim.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Status: functions return 0 or more, or minus an msim_status. main alone turns that into an
 * exit code, with ms_cli_finish ---- */

/* The status of work that failed, whatever its code: ms_cli_finish makes it exit code 1. */
int ms_cli_as_failure(int rc);

/* ---- Options ---- */

/* Text values in order: operands, or an option that may be repeated. */
typedef struct {
    const char **items; /* owned array of borrowed strings, for the life of the process */
    size_t n, cap;
} ms_cli_texts;

enum ms_cli_kind {
    MS_CLI_FLAG,   /* bool: set to true */
    MS_CLI_INT,    /* int64_t in min..max */
    MS_CLI_REAL,   /* double, finite */
    MS_CLI_TEXT,   /* const char *, not empty */
    MS_CLI_TEXTS,  /* ms_cli_texts: repeatable */
    MS_CLI_CHOICE, /* int: index into `choices`, "a|b|c" */
    MS_CLI_LEVEL,  /* int: msim_isa, auto or a level of this build */
    MS_CLI_REALS,  /* float[max]: `max` finite numbers separated by commas, or as few as `min` if
                    * that is not 0; the rest become NaN */
    MS_CLI_DEVICE  /* ms_cli_common.device and .gpu: auto|cpu|cuda[:N|:all] */
};

typedef struct {
    const char *name; /* long name without dashes; NULL ends the table */
    char letter;      /* short name, or 0 */
    enum ms_cli_kind kind;
    const char *value;   /* what the value is called in the help: "FILE" */
    const char *help;    /* one or two sentences, with the default */
    const char *brief;   /* for -h: under 60 characters; NULL: not an option of every day */
    const char *choices; /* MS_CLI_CHOICE, MS_CLI_LEVEL */
    size_t offset;       /* of the value in the settings */
    int64_t min, max;    /* MS_CLI_INT; MS_CLI_REALS: how many, at least and at most */
} ms_cli_option;

/* Rows that several tools have; the settings have a member of that name. */
#define MS_CLI_ROW_NAMES(settings, what)                                                      \
    {                                                                                         \
        .name = "names", .kind = MS_CLI_CHOICE, .value = "path|stem", .choices = "path|stem", \
        .offset = offsetof(settings, names),                                                  \
        .help = what                                                                          \
            ": the path (default), or the stem: the base name without extension. With one "   \
            "folder given, paths are relative to it"                                          \
    }
#define MS_CLI_ROW_FILES_FROM(settings)                                           \
    {                                                                             \
        .name = "files-from", .kind = MS_CLI_TEXT, .value = "FILE",               \
        .offset = offsetof(settings, files_from),                                 \
        .help = "read more paths from FILE, one per line; - reads standard input" \
    }
#define MS_CLI_ROW_NULL(settings)                                                \
    {                                                                            \
        .name = "null", .letter = '0', .kind = MS_CLI_FLAG,                      \
        .offset = offsetof(settings, is_nul_separated),                          \
        .help = "the paths of --files-from end in NUL bytes instead of newlines" \
    }
#define MS_CLI_ROW_SKIPPED(settings)                                                      \
    {                                                                                     \
        .name = "skipped", .kind = MS_CLI_TEXT, .value = "FILE",                          \
        .offset = offsetof(settings, skipped),                                            \
        .help = "list every file that gave nothing in FILE, as TSV: path, reason, detail" \
    }
#define MS_CLI_ROW_MAX_TOKENS(settings, most, says)                          \
    {                                                                        \
        .name = "max-tokens", .kind = MS_CLI_INT, .value = "N", .max = most, \
        .offset = offsetof(settings, max_tokens), .help = says               \
    }
#define MS_CLI_ROW_POOLING(settings, default_says)                                      \
    {                                                                                   \
        .name = "pooling", .kind = MS_CLI_CHOICE, .value = "mean|weighted",             \
        .choices = "mean|weighted", .offset = offsetof(settings, pooling),              \
        .help = "how the vectors of tokens become one: their mean, or a weighted mean " \
                "(default " default_says ")"                                            \
    }
#define MS_CLI_ROW_POOL_WEIGHTS(settings)                                                        \
    {                                                                                            \
        .name = "pool-weights", .kind = MS_CLI_REALS, .value = "ON,DUR,PITCH", .min = 3,         \
        .max = MS_CLI_POOL_WEIGHTS, .offset = offsetof(settings, pool_weights),                  \
        .help = "with --pooling weighted: the weights of start-time, duration and pitch tokens " \
                "(default 1,1,1). A model of midisimx has four, ON,PITCH,DUR,CHORD: those of "   \
                "start-time, pitch, duration and chord tokens; its published corpora have "      \
                "1,2,1,2"                                                                        \
    }
/* pool_weights is float [MS_CLI_POOL_WEIGHTS]. */
enum { MS_CLI_POOL_WEIGHTS = 4 };
#define MS_CLI_POOL_WEIGHTS_DEFAULT \
    { 1.0f, 1.0f, 1.0f, 1.0f }
/* How many of them were given; 0: as many as the model has. */
int ms_cli_n_pool_weights(const float *weights, bool is_given);
/* How a family's tokens are written. */
#define MS_CLI_ROW_TOKEN_ORDER(settings)                                                        \
    {                                                                                           \
        .name = "token-order", .kind = MS_CLI_CHOICE, .value = "time-first|chord-first",        \
        .choices = "time-first|chord-first", .offset = offsetof(settings, token_order),         \
        .help = "midisimx: what comes first of a chord. time-first: the start time, as the "    \
                "published models were trained (default). chord-first: the chord, as midisimx " \
                "26.10.23 to 26.10.26 write tokens"                                             \
    }
#define MS_CLI_ROW_CLEAN(settings)                                                            \
    {                                                                                         \
        .name = "clean", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_clean),         \
        .help = "midisimx: only notes of 77 of the 128 instruments, as the published models " \
                "were trained (default)"                                                      \
    }
#define MS_CLI_ROW_NO_CLEAN(settings)                                                      \
    {                                                                                      \
        .name = "no-clean", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_unclean), \
        .help = "midisimx: notes of all instruments but drums"                             \
    }
#define MS_CLI_ROW_NAME_FIELD(settings)                                                  \
    {                                                                                    \
        .name = "name-field", .kind = MS_CLI_TEXT, .value = "NAME",                      \
        .offset = offsetof(settings, name_field),                                        \
        .help = "what the field of the names is called in the .npy (default midi_names)" \
    }
#define MS_CLI_ROW_VECTOR_FIELD(settings)                                                       \
    {                                                                                           \
        .name = "vector-field", .kind = MS_CLI_TEXT, .value = "NAME",                           \
        .offset = offsetof(settings, vector_field),                                             \
        .help = "what the field of the vectors is called in the .npy (default midi_embeddings)" \
    }
#define MS_CLI_ROW_EVALUE(settings)                                                      \
    {                                                                                    \
        .name = "evalue", .letter = 'e', .kind = MS_CLI_REAL, .value = "E",              \
        .offset = offsetof(settings, evalue),                                            \
        .help = "matches of notes of which chance would give at most E are significant " \
                "(default 0.001)"                                                        \
    }
#define MS_CLI_ROW_SAME_KEY(settings)                                                       \
    {                                                                                       \
        .name = "same-key", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_same_key), \
        .help = "only matches of notes that are in the query's own key"                     \
    }
#define MS_CLI_ROW_SAME_TEMPO(settings)                                                         \
    {                                                                                           \
        .name = "same-tempo", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_same_tempo), \
        .help = "only matches of notes at the query's own tempo, within 3 %"                    \
    }
/* when: "" or "with ...: "; in_short: the brief text, or NULL. */
#define MS_CLI_ROW_MIDI_ROOT(settings, member, when, in_short)                                     \
    {                                                                                              \
        .name = "midi-root", .kind = MS_CLI_TEXTS, .value = "ROOT",                                \
        .offset = offsetof(settings, member), .brief = in_short,                                   \
        .help = when "a folder in which the names of pieces are paths, for their MIDI files; may " \
                     "be repeated"                                                                 \
    }
/* The number in the texts of --max-tokens. */
#define MS_CLI_TEXT_OF_(x) #x
#define MS_CLI_TEXT_OF(x) MS_CLI_TEXT_OF_(x)
#define MS_CLI_TOKENS MS_CLI_TEXT_OF(MSIM_TRAINED_TOKENS)

/* First member of every tool's settings. Values 0 mean the default. */
typedef struct {
    const char *model; /* -m, only for tools that use a model */
    bool quiet;
    int64_t threads;       /* as given; use ms_cli_threads */
    int device, gpu;       /* msim_device, index or MSIM_GPU_ALL */
    int isa, precision;    /* msim_isa, msim_precision */
    ms_cli_texts operands; /* what is not an option, in order */
    uint64_t given;        /* bit i: row i of the tool's own table was given; see ms_cli_given */
    uint64_t given_common; /* as above for the common rows */
} ms_cli_common;

typedef struct {
    const char *command, *says;
} ms_cli_example;

typedef struct {
    const char *name;               /* "midisim-embed" */
    const char *summary;            /* one line for the man page's NAME */
    const char *purpose;            /* one sentence, with which the help begins */
    const char *usage;              /* one way of use per line, without the tool's name */
    const char *description;        /* paragraphs separated by an empty line */
    const ms_cli_example *examples; /* command NULL ends */
    const ms_cli_option *options;   /* the tool's own, at most 64 rows */
    bool uses_model;                /* takes -m, --model and MIDISIM_MODEL */
    bool has_no_kernels;            /* --device, --isa and --precision have no effect: they are
                                     * taken, as by every tool, but not shown */
    bool has_no_threads;            /* the same for these and --threads */
    const char *exits;              /* text of exit code 1, NULL for the usual one */
} ms_cli_tool;

/* Parse argv into settings. 0: go on; MS_CLI_DONE: --help or --version was all that was wanted;
 * < 0: what is wrong was said. main leaves with ms_cli_finish unless it is 0. Also names the tool
 * in messages and makes a closed pipe an ordinary write error. */
enum { MS_CLI_DONE = 1 };
int ms_cli_parse(const ms_cli_tool *tool, int argc, char **argv, void *settings);
/* True when the option was on the command line (long name). */
bool ms_cli_given(const ms_cli_tool *tool, const void *settings, const char *name);
/* Strict integer: all of `text`, in min..max. False with nothing written otherwise. */
bool ms_cli_int(const char *text, int64_t min, int64_t max, int64_t *out);
/* Append to a list of texts. < 0: out of memory, which was said. */
int ms_cli_texts_add(ms_cli_texts *list, const char *text);

/* Threads to use: --threads, else MIDISIM_THREADS, else one for each processor this process may run
 * on. */
int ms_cli_threads(const ms_cli_common *common);
/* Library options from the common ones. */
msim_options ms_cli_library_options(const ms_cli_common *common);
/* --clean and --no-clean contradict each other. < 0: that was said. */
int ms_cli_check_clean(bool is_clean, bool is_unclean);
/* A device as --device spells it, into device and gpu. < 0: what is wrong with it was said. */
int ms_cli_device(const char *label, const char *text, ms_cli_common *common);
/* "cpu", "cuda (NVIDIA H100)": a device in use, for summaries. Returns buf, which has
 * MS_CLI_DEVICE_BYTES. */
enum { MS_CLI_DEVICE_BYTES = 112 };
char *ms_cli_device_words(char *buf, int device, int gpu);
/* The model to open: -m, else msim_default_model. -MSIM_E_EMPTY, with what to do about it, when
 * there is none. */
int ms_cli_model_path(const ms_cli_common *common, char *path, size_t cap, msim_error *err);

/* The rows that every tool has, and those of them that its help shows; name NULL ends them. */
const ms_cli_option *ms_cli_common_options(const ms_cli_tool *tool);
const ms_cli_option *ms_cli_shown_options(const ms_cli_tool *tool);
void ms_cli_print_help(const ms_cli_tool *tool);
void ms_cli_print_brief(const ms_cli_tool *tool); /* -h: at most 15 lines */
void ms_cli_print_version(const ms_cli_tool *tool);
void ms_cli_print_man(const ms_cli_tool *tool);
/* What `word` asks for ("--generate-man" and the like), printed; false when it asks for nothing. */
bool ms_cli_generate(const ms_cli_tool *tool, const char *word);
/* Completions (common/texts/complete.c): they offer words, files, folders, corpora, models, and
 * after --like the rows of the corpus that the command line names. Names with blanks are quoted as
 * the shell has it. Each prints one file for share/. */
void ms_complete_bash(const ms_cli_tool *tool);
void ms_complete_zsh(const ms_cli_tool *tool);
void ms_complete_fish(const ms_cli_tool *tool);

/* ---- Messages on stderr, one line each, control bytes replaced by '?' ---- */

void ms_cli_error(const char *format, ...) __attribute__((format(printf, 1, 2))); /* always */
/* "warning: ", always */
void ms_cli_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* not with --quiet */
void ms_cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Error about wrong use: adds, on the same line, where help is; returns
 * -MSIM_E_ARG. */
int ms_cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* 1234567 -> "1,234,567". Returns buf, which has at least 32 bytes. */
char *ms_cli_count(char *buf, int64_t n);
/* The end of a noun that n counts: "s", or "" for one. */
static inline const char *ms_cli_plural(int64_t n) { return n == 1 ? "" : "s"; }
double ms_cli_now(void); /* seconds, monotonic */
bool ms_cli_is_terminal(int fd);
/* True when colour may be used on this descriptor: a terminal, and NO_COLOR unset or empty. */
bool ms_cli_color(int fd);
/* Columns of the terminal behind fd; 0 when it is none. */
int ms_cli_columns(int fd);

/* ---- Progress of a long run, on stderr, without --quiet ----
 *
 * On a terminal it is a line that appears after half a second and is rewritten. Elsewhere it is a
 * line of its own after a minute, then one every minute or every 5 %, whichever is later. */

/* all < 0: not known. Each call is cheap. */
void ms_cli_progress(const char *unit, int64_t done, int64_t all);
/* The same with the tokens of this run; tokens_all <= 0: not known. What is done at the first call
 * was done by an earlier run. */
void ms_cli_progress_tokens(const char *unit, int64_t done, int64_t all, int64_t tokens,
                            int64_t tokens_all);
void ms_cli_progress_hide(void); /* removes the line until the next progress */
void ms_cli_progress_end(void);  /* removes the line; the next progress is of another run */

/* ---- Standard output: data only ---- */

/* Standard output. 0, or -1 when nothing more can be written: every later call returns -1 too, so
 * only the last of several needs a look; stop, and leave with ms_cli_finish. On a terminal '?'
 * stands for whatever could control it. */
int ms_cli_write(const void *bytes, size_t n);
/* Give what was written to whoever reads it. Returns as ms_cli_write does. */
int ms_cli_flush(void);
/* Bold or dim from here on, where standard output is a terminal that has colours. */
enum ms_cli_styles { MS_CLI_PLAIN, MS_CLI_BOLD, MS_CLI_DIM };
int ms_cli_style(enum ms_cli_styles style);
/* Something that should be there could not be made (an errno): from now on nothing is written, and
 * ms_cli_finish says so. Returns -1. */
int ms_cli_output_failed(int errno_value);
int ms_cli_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The end of main: flush standard output and turn a status into the exit code. 0 for success, 2 for
 * -MSIM_E_ARG and -MSIM_E_UNSUPPORTED (a request that cannot be met), else 1. Also 1, with a
 * message, when the output is incomplete, and 128 + n after a signal. A pipe that the reader closed
 * ends quietly. */
int ms_cli_finish(int rc);

/* ---- Signals ---- */

/* From now on the first SIGINT or SIGTERM sets a flag; the second one ends the process. */
void ms_cli_catch_signals(void);
int ms_cli_stopped(void); /* the signal's number, or 0 */
/* The same as a should_stop of the library. */
int ms_cli_should_stop(void *user);

#endif
