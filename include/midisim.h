/* midisim: similar music among MIDI files. The only public header of libmidisim.
 *
 *   msim_error e;
 *   msim_model *model;
 *   float vector[512];
 *   msim_model_open("weights/midisim-small.safetensors", NULL, &model, &e);
 *   msim_embed_file(model, NULL, "song.mid", 0, vector, &e);
 *
 * Three storeys: 1. simple calls, 2. handles, 3. building blocks. Most programs need the first two.
 *
 * Rules that hold for every function:
 *  R1 errors     A function that can fail returns int or int64_t: >= 0 is success or a count, < 0
 *                is minus an msim_status. `err` may be NULL; otherwise it then holds one line:
 *                what, where, expected, got. On failure outputs are untouched and a new handle is
 *                NULL, unless the function says otherwise.
 *  R2 threads    msim_model and msim_corpus are immutable after open and may be shared by threads.
 *                msim_context, msim_tokenizer, msim_corpus_writer and msim_job serve one thread at
 *                a time.
 *  R3 ownership  Results go into the caller's buffers, whose sizes are known beforehand. Nothing
 *                returned is to be freed. Close contexts before what they were opened on. Every
 *                close accepts NULL.
 *  R4 memory     The embed functions and the searches allocate nothing: a context is sized when it
 *                is opened and, for the width of the rows, when a corpus is loaded.
 *  R5 quiet      The library never prints, exits, reads the environment (but for
 *                msim_default_model) or starts a thread outside a handle.
 *  R6 structs    Public structs that may grow begin with `size`. Set it to the sizeof of the struct
 *                (an ..._default() function does) before the library reads or fills the struct.
 *  R7 fork       A forked child may use what its parent opened: models, corpora and tokenisers as
 *                they are, contexts on the CPU with the calling thread alone. A context on a CUDA
 *                device fails there with -MSIM_E_DEVICE. Closing never waits. This holds when no
 *                other thread was inside the library at the time of the fork.
 *  R8 mappings   Corpora and models are read through mappings. Replace such a file by renaming a
 *                new one over it. When another program changes a file in place, searches fail with
 *                -MSIM_E_IO, and so does msim_corpus_check: call it after names and vectors.
 *                When a file is cut short, reading the lost part raises SIGBUS. A program that must
 *                not end without a word handles SIGBUS by calling msim_remove_temporary_files,
 *                writing a line and ending with _exit, as the tools do.
 */
#ifndef MIDISIM_H
#define MIDISIM_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(MSIM_BUILD) && defined(__GNUC__)
#define MSIM_API __attribute__((visibility("default")))
#else
#define MSIM_API
#endif

#define MSIM_VERSION "0.2.0"
#define MSIM_ABI 1 /* of the shared library: libmidisim.so.1 */
MSIM_API const char *msim_version(void);

/* ---- Status ---------------------------------------------------------------------------------- */

/* Pinned values; a code is never reused. Functions return them negated. */
enum msim_status {
    MSIM_OK = 0,
    MSIM_E_ARG = 1,         /* an argument is out of its range or contradicts another */
    MSIM_E_IO = 2,          /* the operating system refused to open, read or write */
    MSIM_E_FORMAT = 3,      /* a file is damaged or not of the format it should be */
    MSIM_E_LIMIT = 4,       /* larger than the handle or buffer was made for */
    MSIM_E_MEMORY = 5,      /* out of memory */
    MSIM_E_DEVICE = 6,      /* a device is absent or failed */
    MSIM_E_UNSUPPORTED = 7, /* well-formed, but not something this build or machine does */
    MSIM_E_EMPTY = 8,       /* nothing in it: a MIDI file without usable notes */
    MSIM_E_STOPPED = 9      /* a callback of the caller asked to stop */
};

typedef struct {
    int code;       /* msim_status, positive; 0 when nothing failed */
    char text[500]; /* one line, no newline */
} msim_error;

/* Remove the temporary files of all writes that are under way. For the handler of a signal that
 * ends the process: it only calls functions that are safe there. */
MSIM_API void msim_remove_temporary_files(void);

/* Name of a return code ("ok", "format", ...); accepts both signs. Static storage. */
MSIM_API const char *msim_status_name(int rc);

/* ---- Options --------------------------------------------------------------------------------- */

enum msim_device { MSIM_DEVICE_AUTO = 0, MSIM_DEVICE_CPU = 1, MSIM_DEVICE_CUDA = 2 };
/* Values of levels are no order: msim_isa_list has one. */
enum msim_isa {
    MSIM_ISA_AUTO = 0,
    MSIM_ISA_REF = 1,
    MSIM_ISA_AVX2 = 2,
    MSIM_ISA_AVX512 = 3,
    MSIM_ISA_AVX512BF16 = 4
};
enum { MSIM_GPU_ALL = -1, MSIM_GPU_MAX_K = 1024 };
enum msim_precision { MSIM_PRECISION_BF16 = 0, MSIM_PRECISION_F32 = 1, MSIM_PRECISION_INT8 = 2 };

/* Start from msim_options_default(). */
typedef struct {
    size_t size;              /* of this struct, as the caller was compiled (R6) */
    int device;               /* msim_device; AUTO: CUDA when one opens and serves what is asked,
                               * else the CPU */
    int gpu;                  /* index of the CUDA device (default 0), or MSIM_GPU_ALL: sequences
                               * and rows are divided among all of them, for the same answer */
    int threads;              /* 1..1024; 0: one for each processor this process may run on */
    int isa;                  /* msim_isa; a level that the CPU or the build lacks is refused; AUTO
                               * devices are the CPU when it is given */
    int precision;            /* msim_precision; CUDA has bf16 alone */
    int64_t max_batch_tokens; /* the most tokens one call of embed may hold (default 16,384) */
    int64_t max_batch_seqs;   /* the most sequences one call of embed may hold (default 256) */
    int64_t max_queries;      /* the most queries of one search (default 64) */
    int64_t max_k;            /* the most results for each query (default 1,024; CUDA: at most
                               * MSIM_GPU_MAX_K) */
} msim_options;

/* Fill in the defaults; options->size is set by the caller. For bindings: C programs call the
 * function below it. */
MSIM_API void msim_options_init(msim_options *options);
static inline msim_options msim_options_default(void) {
    msim_options options;
    options.size = sizeof options;
    msim_options_init(&options);
    return options;
}

/* Names of levels and precisions as the tools spell them ("avx2", "bf16"); NULL for an unknown
 * value. */
MSIM_API const char *msim_isa_name(int isa);
MSIM_API const char *msim_precision_name(int precision);
/* The levels that this build holds, from the reference to the fastest: the index-th, or -1 past the
 * last. */
MSIM_API int msim_isa_list(int index);
/* What a level asks of the CPU at a precision: words of /proc/cpuinfo separated by spaces, none for
 * the reference. NULL: this build lacks the level, or the level the precision. */
MSIM_API const char *msim_isa_needs(int isa, int precision);
/* 1 when this build and this CPU have the level for the precision, else 0. */
MSIM_API int msim_isa_is_available(int isa, int precision);
/* The fastest level that this build and this CPU have (never AUTO). */
MSIM_API int msim_isa_best(void);
/* 1 when this build was compiled with CUDA kernels, else 0. */
MSIM_API int msim_has_cuda(void);

/* A CUDA device, usable or too old. */
typedef struct {
    size_t size; /* set by the caller (R6) */
    char name[64];
    int major, minor; /* compute capability */
    int multiprocessors;
    int64_t memory_bytes;
} msim_gpu_info;

/* Devices that the driver shows; 0 without a driver or without CUDA in this build. */
MSIM_API int msim_gpu_count(void);
MSIM_API int msim_gpu_get_info(int gpu, msim_gpu_info *out, msim_error *err);

/* Of searches. */

/* Cosine, or the plain dot product (in double, in the same fixed order). */
enum msim_metric { MSIM_METRIC_COSINE = 0, MSIM_METRIC_IP = 1 };
/* How rows are passed over. Every form gives the same results to the last bit: the narrower ones
 * only leave out rows that a proven bound shows to be no result, and score the others in double
 * (docs/SEARCH.md). AUTO: int8 copies when they are attached and the level has kernels for them,
 * else bf16 copies, else F32. F64 scores every row in double. */
enum msim_scan {
    MSIM_SCAN_AUTO = 0,
    MSIM_SCAN_F64 = 1,
    MSIM_SCAN_F32 = 2,
    MSIM_SCAN_BF16 = 3,
    MSIM_SCAN_INT8 = 4
};

/* Start from msim_search_options_default(). */
typedef struct {
    size_t size;             /* set by the caller (R6) */
    int metric;              /* msim_metric; IP: with AUTO, F64 or F32 alone */
    int scan;                /* msim_scan; a form whose copies are not attached is refused */
    const int64_t *excluded; /* borrowed: rows that are no results, ascending, no duplicates; NULL:
                              * none */
    size_t n_excluded;
} msim_search_options;

/* As msim_options_init. */
MSIM_API void msim_search_options_init(msim_search_options *options);
static inline msim_search_options msim_search_options_default(void) {
    msim_search_options options;
    options.size = sizeof options;
    msim_search_options_init(&options);
    return options;
}
/* "auto", "f64", "f32", "bf16", "int8"; NULL for an unknown value. */
MSIM_API const char *msim_scan_name(int scan);

/* Takes one hit; 0 to go on, anything else ends the search. Calls come one at a time, from any
 * thread of the context. */
typedef int (*msim_hit_sink)(void *user, size_t query, int64_t row, double score);

/* ==== 1. Simple calls ======================================================================== */

/* Enough for most programs: open a model, embed a file or a folder, search a corpus.
 * examples/find.c is a whole program. A folder becomes a corpus by an msim_job; an msim_searcher
 * finds a file's matches in any key. Both are handles, below. */
typedef struct msim_model msim_model;

/* The model that the tools use when none is named: MIDISIM_MODEL, else midisim-small.* before
 * others in the weights folder of the build tree that the program lies in, in
 * $XDG_DATA_HOME/midisim (else ~/.local/share/midisim), in share/midisim beside the program's
 * folder bin and in PREFIX/share/midisim. Its path into path [cap]. This is the only function of
 * the library that reads the environment.
 * -MSIM_E_EMPTY: there is none, and the error says where it was looked for. */
MSIM_API int msim_default_model(char *path, size_t cap, msim_error *err);
/* One MIDI file (gzip too), or the bytes of one, to one vector: out [dim of the model], the plain
 * mean over as many of its first tokens as the model was trained with, not normalised, every pitch
 * moved by `transpose` semitones first. Each call opens a context of its own; for many files, open
 * one and keep it. */
MSIM_API int msim_embed_file(const msim_model *model, const msim_options *options, const char *path,
                             int transpose, float *out, msim_error *err);
MSIM_API int msim_embed_midi(const msim_model *model, const msim_options *options, const void *midi,
                             size_t n_bytes, int transpose, float *out, msim_error *err);

/* ==== 2. Handles ============================================================================= */

/* What is opened, used for long and closed: models, jobs, corpora, searchers. */

/* ---- Model ----------------------------------------------------------------------------------- */

typedef struct {
    size_t size;        /* set by the caller (R6) */
    int64_t dim;        /* width of a vector */
    int64_t depth;      /* blocks of attention and feed-forward */
    int64_t heads;      /* attention heads, each 64 wide */
    int64_t vocab;      /* rows of the token table; ids 0..vocab-1 are accepted */
    int precision;      /* msim_precision in use */
    int device;         /* msim_device in use, never AUTO */
    int isa;            /* msim_isa in use on the CPU */
    char family[24];    /* "midisim-small", "midisim-large" or "midisim-custom" */
    char sha256[65];    /* SHA-256 of the checkpoint the weights came from, lower-case
                         * hexadecimal */
    int n_classes;      /* classes of token ids that weighted pooling tells apart */
    int takes_midi;     /* 1: MIDI files can become its tokens; 0: token ids alone */
    int64_t max_tokens; /* of a sequence, as the models of its family were trained */
} msim_model_info;

/* Open a checkpoint: .safetensors as midisim-convert writes it, or the original's .pth. Weights are
 * checked (names, shapes, finite) and laid out for the device; the file is not needed
 * afterwards. */
MSIM_API int msim_model_open(const char *path, const msim_options *options, msim_model **out,
                             msim_error *err);
MSIM_API int msim_model_get_info(const msim_model *model, msim_model_info *out);
MSIM_API void msim_model_close(msim_model *model);

/* What a checkpoint file holds, without laying it out for a device. Every tensor is read and
 * checked. */
typedef struct {
    size_t size; /* set by the caller (R6) */
    int64_t dim, depth, heads, vocab;
    int64_t tensors, parameters; /* tensors in the file; elements that embedding uses or carries */
    int all_f32;                 /* 1: stored entirely in f32 */
    char container[16];          /* "safetensors", "pth-zip" or "pth-legacy" */
    char family[24];
    char sha256[65]; /* as in msim_model_info */
} msim_checkpoint_info;

MSIM_API int msim_checkpoint_get_info(const char *path, msim_checkpoint_info *out, msim_error *err);
/* Write a checkpoint as safetensors: dtype MSIM_DTYPE_F32 (lossless from f32) or MSIM_DTYPE_BF16
 * (matrices and biases to the nearest even; what bf16 precision uses in f32, the token table,
 * gammas and inv_freq, stays f32). Goes to a temporary file first; an existing `out_path` is
 * replaced. */
MSIM_API int msim_checkpoint_convert(const char *path, const char *out_path, int dtype,
                                     msim_error *err);

/* ---- Jobs: a folder to a corpus -------------------------------------------------------------- */

/* A job turns MIDI files into a corpus: it lists files and folders, reads and tokenises them on
 * several threads, embeds every different content once, and writes CORPUS.npy with its description
 * CORPUS.npy.json. What is finished goes into CORPUS.npy.journal at once, so a job that was ended
 * in any way goes on where it was when it is opened again with the same options.
 *
 *   msim_job_options o = msim_job_options_default();
 *   msim_job *job;
 *   o.output = "corpus.npy";  o.paths = &folder;  o.n_paths = 1;
 *   o.model_path = "weights/midisim-small.safetensors";
 *   int rc = msim_job_open(&o, &job, &e);
 *   if (rc >= 0) rc = msim_job_run(job, &e);
 *   msim_job_close(job);
 *
 * A job serves one thread at a time. */
typedef struct msim_job msim_job;

/* Why an input gave no row. The numbers are those of the journal (docs/FORMATS.md). */
enum msim_skip_reason {
    MSIM_SKIP_NONE = 0, /* it gave a row */
    MSIM_SKIP_UNREADABLE,
    MSIM_SKIP_NOT_REGULAR, /* neither a regular file nor a folder */
    MSIM_SKIP_TOO_LARGE,
    MSIM_SKIP_BAD_GZIP,
    MSIM_SKIP_NOT_MIDI,
    MSIM_SKIP_BAD_MIDI,
    MSIM_SKIP_NO_NOTES,
    MSIM_SKIP_DRUMS_ONLY,
    MSIM_SKIP_NAME_TOO_LONG,
    MSIM_SKIP_CHANGED, /* its size or time changed since it was listed */
    MSIM_SKIP_COUNT
};
/* "unreadable", "not-regular", ...; "ok" for MSIM_SKIP_NONE, "unknown" for an unknown value. */
MSIM_API const char *msim_skip_reason_name(int reason);

/* Row names: the path, relative to the folder when one folder alone is given; or the base name
 * without extension. */
enum msim_names { MSIM_NAMES_PATH = 0, MSIM_NAMES_STEM = 1 };

/* What a job is doing, in this order. NONE: it is between two steps. */
enum msim_job_step {
    MSIM_STEP_NONE = 0,
    MSIM_STEP_LIST,    /* files found so far; all is -1 */
    MSIM_STEP_JOURNAL, /* bytes of the journal of an earlier run */
    MSIM_STEP_EMBED,   /* files (or token lines; all is then -1) that are done */
    MSIM_STEP_WRITE    /* rows written */
};

typedef struct {
    size_t size; /* of this struct, as the library knows it */
    int step;    /* msim_job_step */
    int64_t done, all;
} msim_job_progress;

enum msim_message_level { MSIM_MESSAGE_NOTE = 0, MSIM_MESSAGE_WARNING, MSIM_MESSAGE_ERROR };

/* Several processes that do one job: how they reach each other. Rank 0 prepares, writes and
 * reports; the others embed their share. Unless it says otherwise a function is collective: every
 * rank calls it, all in the same order. Where communication itself fails, the functions end all
 * ranks. The library calls them on the job's thread, but for counter_add. */
typedef struct {
    size_t size; /* sizeof(msim_ranks) */
    void *user;  /* given to every function */
    int index;   /* of this process, from 0 */
    int count;
    /* When no rank failed (rc < 0), each gets its own rc back. Otherwise all get the rc of the
     * lowest rank that failed, with its text in err. */
    int (*agree)(void *user, int rc, msim_error *err);
    /* Bytes from one rank to all. */
    void (*broadcast)(void *user, int from, void *bytes, size_t n);
    /* The sums over the ranks replace values [n], n <= 16. */
    void (*sum)(void *user, int64_t *values, int n);
    /* From one rank to another, which first asks how many bytes are meant for it: these two ranks
     * alone call these functions. */
    void (*send)(void *user, int to, const void *bytes, size_t n);
    size_t (*expect)(void *user, int from);
    void (*receive)(void *user, int from, void *bytes, size_t n);
    /* A number in rank 0's memory, 0 after counter_open. counter_add is not collective and may
     * come from any thread; it returns the number before. */
    void (*counter_open)(void *user);
    int64_t (*counter_add)(void *user, int64_t n);
    void (*counter_close)(void *user);
} msim_ranks;

/* Start from msim_job_options_default(). Everything pointed to is borrowed until the job is
 * closed. */
typedef struct {
    size_t size;        /* of this struct, as the caller was compiled (R6) */
    const char *output; /* the corpus to write (.npy) */

    /* What to embed: files and folders, and a file with more paths ("-": standard input), one per
     * line or separated by NUL; or token lines of midisim-tokens ("-": standard input). */
    const char *const *paths;
    size_t n_paths;
    const char *files_from;
    int is_nul_separated;
    const char *from_tokens;
    int names;               /* msim_names */
    int64_t shard, n_shards; /* only the files of shard 1..n_shards; n_shards 0: all of them */

    /* What a vector is. */
    int transpose;              /* semitones, -12..12 */
    int64_t max_tokens;         /* the first so many tokens of a piece (default 3072); 0: all */
    const float *class_weights; /* as msim_context_embed has them; NULL: the plain mean */
    int is_l2_normalized;       /* vectors are scaled to length 1 */

    /* How the corpus is stored. */
    int dtype;                /* MSIM_DTYPE_F32 (default) or MSIM_DTYPE_F16 */
    const char *name_field;   /* NULL: "midi_names" */
    const char *vector_field; /* NULL: "midi_embeddings" */

    /* An output that exists. */
    int is_update;       /* bring it up to date: keep the rows of files that are as they were */
    int is_forced;       /* replace it; go on with an unfinished one at another level or device */
    int is_journal_kept; /* keep the journal when the corpus is complete */

    const msim_model *model;     /* NULL: model_path is opened */
    const char *model_path;      /* used without a model */
    const msim_options *options; /* of the model and the encoder; NULL: the defaults */

    /* Called now and then on the thread that runs the job, also when nothing has changed; anything
     * but 0 stops the job with -MSIM_E_STOPPED. NULL: it runs to its end. */
    int (*progress)(void *user, const msim_job_progress *progress);
    /* One line for the user, without a newline; msim_message_level. On the thread that runs the
     * job. NULL: nothing is said. */
    void (*message)(void *user, int level, const char *text);
    void *user;

    const msim_ranks *ranks; /* NULL: this process alone */
} msim_job_options;

/* Fill in the defaults; options->size is set by the caller. */
MSIM_API void msim_job_options_init(msim_job_options *options);
static inline msim_job_options msim_job_options_default(void) {
    msim_job_options options;
    options.size = sizeof options;
    msim_job_options_init(&options);
    return options;
}

/* Everything before the work: checks the output, opens the model, lists the inputs, and reads what
 * earlier runs left. The journal is locked: a second job on the same output is refused. */
MSIM_API int msim_job_open(const msim_job_options *options, msim_job **out, msim_error *err);

/* What a run came to. */
enum msim_job_result {
    MSIM_JOB_WRITTEN = 0,   /* the corpus is written */
    MSIM_JOB_UP_TO_DATE,    /* the corpus held these rows already and is left as it is */
    MSIM_JOB_NOTHING_TO_DO, /* the output is complete, of the same settings and files: no work */
    MSIM_JOB_OF_RANK_0      /* this rank's share is done; rank 0 knows the result */
};

/* Embed what is left and write the corpus. Returns an msim_job_result. Errors: -MSIM_E_STOPPED when
 * progress asked for it; -MSIM_E_EMPTY when no input gave a row, and nothing was written; and
 * whatever failed. After an error, what was finished is in the journal. */
MSIM_API int msim_job_run(msim_job *job, msim_error *err);
/* After msim_job_run failed in the encoder: write the rows that are finished as an incomplete
 * corpus, where the output is new. Returns how many rows were written, 0 when this is no such
 * case. */
MSIM_API int64_t msim_job_write_finished(msim_job *job, msim_error *err);

typedef struct {
    size_t size;           /* sizeof(msim_job_stats), set by the caller */
    int has_work;          /* 0: the output is complete, msim_job_run will do nothing */
    int is_of_lines;       /* inputs are token lines, not files */
    int is_updating;       /* the output exists and is brought up to date */
    int has_input;         /* something is known of at least one input's content */
    int64_t files, rows;   /* inputs (files or token lines); rows of the corpus */
    int64_t done;          /* inputs of which it is known what they come to */
    int64_t done_before;   /* of these, by earlier runs */
    int64_t kept;          /* inputs that are as they were in the corpus brought up to date */
    int64_t dropped;       /* rows of that corpus whose files are gone */
    int64_t read;          /* files read by this run */
    int64_t tokens;        /* embedded by this run */
    int64_t cut;           /* inputs of which max_tokens cut something off */
    int64_t shared;        /* rows whose content an earlier row has too */
    int64_t unread;        /* files that could not be read: the next run tries them again */
    int64_t skips;         /* inputs that gave no row: msim_job_get_skip */
    int64_t failures;      /* of these, all but files in folders that have no notes */
    int64_t empty_folders; /* folders given that hold no MIDI file */
    double seconds;        /* since the job was opened */
    int device, isa;       /* msim_device and msim_isa of this run */
    int precision;         /* msim_precision */
    int64_t skipped[16];   /* by msim_skip_reason */
} msim_job_stats;

MSIM_API int msim_job_get_stats(const msim_job *job, msim_job_stats *out);

/* An input that gave no row. */
typedef struct {
    size_t size;        /* sizeof(msim_skip), set by the caller */
    const char *path;   /* borrowed from the job, as is detail */
    const char *detail; /* more about the reason; may be empty */
    int reason;         /* msim_skip_reason */
    int is_failure;     /* 0: a file in a folder that has no notes, which is nothing unusual */
} msim_skip;

/* index in 0..stats.skips-1, in the order of the inputs. */
MSIM_API int msim_job_get_skip(const msim_job *job, int64_t index, msim_skip *out);
MSIM_API void msim_job_close(msim_job *job);

/* ---- Corpus: named rows on disk -------------------------------------------------------------- */

typedef struct msim_corpus msim_corpus;

enum msim_dtype { MSIM_DTYPE_F32 = 0, MSIM_DTYPE_F16 = 1, MSIM_DTYPE_BF16 = 2, MSIM_DTYPE_F64 = 3 };
/* "f32", "f16", "bf16", "f64"; NULL for an unknown value. */
MSIM_API const char *msim_dtype_name(int dtype);

/* How a file holds its rows (docs/FORMATS.md, Corpora), and the types that each is written with. */
enum msim_format {
    MSIM_FORMAT_STRUCTURED = 0, /* .npy records, names as '<U'; f32 or f16 */
    MSIM_FORMAT_PLAIN = 1,      /* .npy of two axes, names in PATH.names; f32, f16 or bf16 */
    MSIM_FORMAT_PICKLED = 2,    /* .npy as the original saves it under NumPy 1.26, byte for byte;
                                 * f32 or f16 */
    MSIM_FORMAT_FVECS = 3,      /* each row with its width before it, names in PATH.names; f32 */
    MSIM_FORMAT_FBIN = 4        /* rows behind their number and width, names in PATH.names; f32 */
};

/* "structured", "plain", ...; NULL for an unknown value. */
MSIM_API const char *msim_format_name(int format);

typedef struct {
    size_t size; /* set by the caller (R6) */
    int64_t rows, dim;
    int dtype;       /* msim_dtype of the stored rows; of several files, of the first that has
                      * rows */
    int has_names;   /* 0: rows are named by their number */
    char format[24]; /* as msim_format_name says it; "mixed" for files that differ */
    int64_t parts;   /* files */
} msim_corpus_info;

/* Open a corpus, mapped read-only: a file of any form (.fvecs and .fbin by their names, .npy by its
 * bytes), or a folder, whose .npy, .fvecs and .fbin files, in bytewise order of name, are one
 * corpus. Nothing is copied; a pickled file is read through once, by a reader that can neither
 * import nor call anything, and then costs 16 bytes a row. names_path: NULL, or a text file with
 * one name a line for rows that have none. Without it, FILE.names beside a file without names is
 * taken if it exists. See R8 for files that change meanwhile. */
MSIM_API int msim_corpus_open(const char *path, const char *names_path, msim_corpus **out,
                              msim_error *err);
/* Several files or folders as one corpus of one width, rows numbered through in the order given. */
MSIM_API int msim_corpus_open_many(const char *const *paths, size_t n_paths, const char *names_path,
                                   msim_corpus **out, msim_error *err);
/* The files of a corpus: how many, the path of one (borrowed from the corpus; NULL out of range),
 * and the number of its first row; for part == parts the number of all rows, out of range a
 * negative status. */
MSIM_API int64_t msim_corpus_parts(const msim_corpus *corpus);
MSIM_API const char *msim_corpus_part_path(const msim_corpus *corpus, int64_t part);
MSIM_API int64_t msim_corpus_part_first(const msim_corpus *corpus, int64_t part);
/* The number of rows in a part; out of range a negative status. */
MSIM_API int64_t msim_corpus_part_rows(const msim_corpus *corpus, int64_t part);
MSIM_API int msim_corpus_get_info(const msim_corpus *corpus, msim_corpus_info *out);
/* -MSIM_E_IO when a file of the corpus was changed in place since it was opened (R8). */
MSIM_API int msim_corpus_check(const msim_corpus *corpus, msim_error *err);
MSIM_API int64_t msim_corpus_rows(const msim_corpus *corpus);
/* Name of a row as UTF-8 (bytes that are not UTF-8 as they were on disk), NUL-terminated and cut to
 * cap - 1 bytes. Returns the full length in bytes, or a negative status for a row out of range. A
 * row without a name gives its number in the corpus. */
MSIM_API int64_t msim_corpus_name(const msim_corpus *corpus, int64_t row, char *buf, size_t cap);
/* One row widened (or f64: rounded) to f32, out [dim]. */
MSIM_API int msim_corpus_vector(const msim_corpus *corpus, int64_t row, float *out,
                                msim_error *err);
MSIM_API void msim_corpus_close(msim_corpus *corpus);

/* Rows first .. first + n - 1, as msim_corpus_vector gives each: out [n, dim]. */
MSIM_API int msim_corpus_vectors(const msim_corpus *corpus, int64_t first, int64_t n, float *out,
                                 msim_error *err);
/* Names of rows first .. first + n - 1, end to end in buf [cap]: the name of row first + i is
 * buf[starts[i]] .. buf[starts[i + 1] - 1], starts [n + 1]. Returns the bytes of all names
 * together. When that is not less than cap, buf means nothing, starts is right all the same, and a
 * second call with one byte more than that succeeds (NULL and cap 0 just ask). A negative status
 * for rows out of range. */
MSIM_API int64_t msim_corpus_names(const msim_corpus *corpus, int64_t first, int64_t n, char *buf,
                                   size_t cap, int64_t *starts);
/* A corpus in memory: rows [n_rows, dim], named as msim_corpus_names has it (names and name_starts
 * [n_rows + 1]), or by number when names is NULL. All three arrays are borrowed: they must outlive
 * the corpus and stay as they are. It has one part, and "memory" is its format and its path. */
MSIM_API int msim_corpus_open_rows(const float *rows, int64_t n_rows, int64_t dim,
                                   const char *names, const int64_t *name_starts, msim_corpus **out,
                                   msim_error *err);

/* Rows whose name is exactly `name`, in rising order; rows [cap] gets the first of them (NULL with
 * cap 0: none). Returns how many there are in all. This reads every name of the corpus; for many
 * names at once there is msim_name_set. */
MSIM_API int64_t msim_corpus_find(const msim_corpus *corpus, const char *name, int64_t *rows,
                                  size_t cap, msim_error *err);
/* Up to three names of rows that differ from `name` only in letter case, folders or extension, as
 * text for a message: "'a.mid', 'b/a.mid'", NUL-terminated, in text [cap]. Names that do not fit
 * are left out. Returns how many names the text has. */
MSIM_API int64_t msim_corpus_suggest(const msim_corpus *corpus, const char *name, char *text,
                                     size_t cap, msim_error *err);

/* Names, each once, numbered from 0 in the order in which they were added; and the rows of a corpus
 * that have them, found for all names in one pass. Memory grows with the names added and the rows
 * found, not with the corpus. One thread at a time. Names are bytes and may hold any. */
typedef struct msim_name_set msim_name_set;

MSIM_API int msim_name_set_open(msim_name_set **out, msim_error *err);
MSIM_API void msim_name_set_close(msim_name_set *set);
MSIM_API int64_t msim_name_set_count(const msim_name_set *set);
/* The number of a name, which is added if it is not there. */
MSIM_API int64_t msim_name_set_add(msim_name_set *set, const char *name, size_t name_bytes,
                                   msim_error *err);
/* The number of a name, or -MSIM_E_EMPTY when it is not there. */
MSIM_API int64_t msim_name_set_find(const msim_name_set *set, const char *name, size_t name_bytes);
/* A name by its number, borrowed until the next add, not NUL-terminated; NULL out of range. */
MSIM_API const char *msim_name_set_name(const msim_name_set *set, int64_t number,
                                        size_t *name_bytes);
/* Find the rows of all names added so far; what an earlier scan found is forgotten. `progress` may
 * be NULL; it is called on this thread now and then with rows done and rows in all, and stops the
 * scan with -MSIM_E_STOPPED when it returns non-zero. */
MSIM_API int msim_name_set_scan(msim_name_set *set, const msim_corpus *corpus,
                                int (*progress)(void *user, int64_t done, int64_t all), void *user,
                                msim_error *err);
/* The rows that the last scan found for a name, in rising order, borrowed until the next scan.
 * Returns how many there are; 0 for a name that was added later or is no number of the set. */
MSIM_API int64_t msim_name_set_rows(const msim_name_set *set, int64_t number, const int64_t **rows);

/* The rows of a corpus in bytewise order of name, each once; equal names stay in the order of their
 * parts and rows. With it, shards become one corpus. Parts that are in order themselves are merged
 * as they are read; of one that is not, its names and 16 bytes a row are kept in memory. One thread
 * at a time; the corpus must stay open. */
typedef struct msim_corpus_merge msim_corpus_merge;

/* Reads every name once. `progress` as for msim_name_set_scan. */
MSIM_API int msim_corpus_merge_open(const msim_corpus *corpus,
                                    int (*progress)(void *user, int64_t done, int64_t all),
                                    void *user, msim_corpus_merge **out, msim_error *err);
MSIM_API void msim_corpus_merge_close(msim_corpus_merge *merge);
/* The next row and its name, borrowed until the next call and NUL-terminated. Returns 1, or 0
 * behind the last row, when row and name stay as they were. */
MSIM_API int msim_corpus_merge_next(msim_corpus_merge *merge, int64_t *row, const char **name,
                                    size_t *name_bytes, msim_error *err);
/* Code points of the longest name, as msim_corpus_layout wants them. */
MSIM_API int64_t msim_corpus_merge_name_chars(const msim_corpus_merge *merge);
/* Rows so far that have the name of the row before them. */
MSIM_API int64_t msim_corpus_merge_repeats(const msim_corpus_merge *merge);

/* ---- Searcher: a piece in its keys ----------------------------------------------------------- */

/* A searcher answers queries from a corpus. A MIDI file is searched in several keys at once, each a
 * vector of its own; for each row of the corpus the best key counts. Queries are added first, and
 * then answered by msim_searcher_run, which passes over the corpus once for many of them:
 *
 *   msim_searcher_options so = msim_searcher_options_default();
 *   msim_searcher *s;  msim_match found[16];
 *   msim_searcher_open(model, corpus, NULL, &so, &s, &e);
 *   int64_t n = msim_searcher_file(s, "song.mid", found, 16, &e);
 *
 * One thread at a time. Model and corpus must outlive it. */
typedef struct msim_searcher msim_searcher;

/* A row that was found. This struct does not grow: arrays of it are the caller's. */
typedef struct {
    int64_t row;
    double score;                    /* as msim_context_search has it; -infinity for a row with NaN
                                      * or infinity */
    int transpose;                   /* semitones by which the query was moved for this score */
    double from_seconds, to_seconds; /* the part of the row's piece that matches; -1: all of it */
    int64_t from_token, to_token;    /* the same in tokens */
} msim_match;

/* Which matches of a query stay. */
enum msim_keep {
    MSIM_KEEP_BEST = 0, /* of each row the best key (equal: the lowest), k rows in all */
    MSIM_KEEP_ALL = 1,  /* every key of a row is a match of its own, k matches in all */
    MSIM_KEEP_EACH = 2  /* as ALL, but k matches of each key */
};

/* What one pass over the rows did; see msim_stats. */
typedef struct {
    size_t size; /* set by the library (R6) */
    int64_t rows_nonfinite, rows_evaluated;
    int scan;   /* msim_scan in use */
    int device; /* msim_device that searched, never AUTO */
} msim_pass_stats;

/* Passes over the rows done by the caller, for rows that are spread over several processes. Both
 * functions do what msim_context_search_with and msim_context_search_above do for all rows of the
 * corpus, and fill in what stats has room for. */
typedef struct {
    size_t size; /* set by the caller (R6) */
    int64_t (*top)(void *user, const msim_search_options *options, const float *vectors,
                   size_t n_vectors, int64_t k, int64_t *rows, double *scores,
                   msim_pass_stats *stats, msim_error *err);
    int64_t (*above)(void *user, const msim_search_options *options, const float *vectors,
                     size_t n_vectors, double threshold, msim_hit_sink sink, void *sink_user,
                     msim_pass_stats *stats, msim_error *err);
    void *user;
} msim_passes;

/* Start from msim_searcher_options_default(). */
typedef struct {
    size_t size;       /* of this struct, as the caller was compiled */
    int64_t k;         /* matches of each query (default 16) */
    int has_threshold; /* 1: every row that scores `threshold` or more, instead of k */
    double threshold;
    int metric, scan;           /* as in msim_search_options */
    int keep;                   /* msim_keep (default BEST) */
    int transpose;              /* MIDI is searched moved by -transpose .. transpose - 1 semitones
                                 * (default 6); 0: as it is */
    int64_t max_tokens;         /* of a MIDI file, the first so many (default 3,072; 0: all) */
    const float *class_weights; /* borrowed until close; as msim_context_embed has them (NULL: the
                                 * plain mean) */
    const int64_t *excluded;    /* rows that no query finds, in any order; copied */
    size_t n_excluded;
    int excludes_self;   /* 1: a query that is a row does not find itself; passes then fetch
                                 * a few rows more, so that msim_searcher_exclude costs little */
    int64_t max_vectors; /* vectors of one pass (default 60: five pieces in twelve keys) */
    int (*should_stop)(void *user); /* asked now and then by msim_searcher_run, on any thread;
                                     * non-zero ends it with -MSIM_E_STOPPED; NULL: never */
    void *stop_user;
    const msim_passes *passes; /* borrowed until close; NULL: this process has all rows */
} msim_searcher_options;

/* Fill in the defaults; options->size is set by the caller. */
MSIM_API void msim_searcher_options_init(msim_searcher_options *options);
static inline msim_searcher_options msim_searcher_options_default(void) {
    msim_searcher_options options;
    options.size = sizeof options;
    msim_searcher_options_init(&options);
    return options;
}

/* Open a searcher and load the corpus for it, unless passes are the caller's. `model` may be NULL:
 * then queries are rows and vectors alone. -MSIM_E_UNSUPPORTED for a model whose vocabulary is not
 * the tokeniser's. `options` (NULL: the defaults) say on what device and with how many threads;
 * their limits do not matter. */
MSIM_API int msim_searcher_open(const msim_model *model, const msim_corpus *corpus,
                                const msim_options *options,
                                const msim_searcher_options *searcher_options, msim_searcher **out,
                                msim_error *err);
MSIM_API void msim_searcher_close(msim_searcher *s);

/* Add a query: a MIDI file (gzip too), the bytes of one, a row of the corpus, a vector [dim]. Each
 * returns the query's number, from 0; numbers begin anew after msim_searcher_run. A failure leaves
 * the queries before it as they were: -MSIM_E_FORMAT and -MSIM_E_EMPTY are the tokeniser's,
 * -MSIM_E_ARG a row out of range or a vector with NaN or infinity. */
MSIM_API int64_t msim_searcher_add_file(msim_searcher *s, const char *path, msim_error *err);
MSIM_API int64_t msim_searcher_add_midi(msim_searcher *s, const void *midi, size_t n_bytes,
                                        msim_error *err);
MSIM_API int64_t msim_searcher_add_row(msim_searcher *s, int64_t row, msim_error *err);
MSIM_API int64_t msim_searcher_add_vector(msim_searcher *s, const float *vector, msim_error *err);
/* Leave rows out of one query's matches, in addition to the excluded ones. rows [n] in any order;
 * copied. */
MSIM_API int msim_searcher_exclude(msim_searcher *s, int64_t query, const int64_t *rows, size_t n,
                                   msim_error *err);
/* Vectors of the queries that wait for msim_searcher_run. */
MSIM_API int64_t msim_searcher_waiting(const msim_searcher *s);
/* msim_outcome of the last MIDI query that was added or refused. */
MSIM_API int msim_searcher_outcome(const msim_searcher *s);

/* The answer to one query. */
typedef struct {
    size_t size;               /* set by the library (R6) */
    int64_t query;             /* its number */
    int64_t variants;          /* keys in which it was searched */
    const msim_match *matches; /* [n_matches], best first: higher score, then lower row, then lower
                                * transposition */
    int64_t n_matches;
    const msim_pass_stats *pass; /* of the pass that the query was part of */
} msim_answer;

/* Takes one answer, which is borrowed until it returns; 0 to go on, anything else ends the run. */
typedef int (*msim_answer_sink)(void *user, const msim_answer *answer);
/* Answer every query that was added, in order. Afterwards none waits, whatever happened. Returns
 * how many were answered; -MSIM_E_STOPPED when the sink or should_stop ended it. Answers given
 * before an error stay given. The sink must not use the searcher. */
MSIM_API int64_t msim_searcher_run(msim_searcher *s, msim_answer_sink sink, void *user,
                                   msim_error *err);
/* One MIDI file, added and answered: the best matches into matches [cap]. Returns how many there
 * are; only the first cap are written. No other query may wait. */
MSIM_API int64_t msim_searcher_file(msim_searcher *s, const char *path, msim_match *matches,
                                    size_t cap, msim_error *err);

/* What a searcher did so far. */
typedef struct {
    size_t size;           /* set by the caller (R6) */
    int64_t answered;      /* queries */
    int64_t matches;       /* of all of them */
    int64_t cut;           /* MIDI queries longer than max_tokens */
    double embed_seconds;  /* wall time inside embedding */
    double search_seconds; /* wall time inside passes */
} msim_searcher_stats;

MSIM_API int msim_searcher_get_stats(const msim_searcher *s, msim_searcher_stats *out);

/* ==== 3. Building blocks ===================================================================== */

/* The steps that jobs and searchers take, for programs that put them together otherwise. */

/* ---- Tokeniser: MIDI bytes to token ids ------------------------------------------------------ */

typedef struct msim_tokenizer msim_tokenizer;

/* Why a file gave what it gave. */
enum msim_outcome {
    MSIM_OUTCOME_TOKENS = 0, /* it has notes */
    MSIM_OUTCOME_NOT_MIDI,   /* no header that can be read, or no track at all */
    MSIM_OUTCOME_BAD_MIDI,   /* damaged where the original gives up; the error says at which byte */
    MSIM_OUTCOME_NO_NOTES,   /* well-formed, without a note */
    MSIM_OUTCOME_DRUMS_ONLY  /* notes on the drum channel alone */
};

/* A tokeniser for a model's family; NULL: midisim's. -MSIM_E_UNSUPPORTED for a model whose
 * vocabulary is not known: it takes token ids alone. The model need not stay open. */
MSIM_API int msim_tokenizer_open(const msim_model *model, msim_tokenizer **out, msim_error *err);
MSIM_API void msim_tokenizer_close(msim_tokenizer *tok);

/* Number of sequences that a transpose factor asks for: 1 for <= 0, else 2 x min(factor, 6). */
MSIM_API int msim_tokenizer_variants(int transpose_factor);
/* An upper bound of the ids that encode can write for a file of n_bytes (all variants together). */
MSIM_API size_t msim_tokenizer_bound(size_t n_bytes, int transpose_factor, int64_t max_seq_len);

/* Encode one MIDI file (uncompressed bytes). `transpose_factor` and `max_seq_len` as in the
 * original: factor tf makes the variants -tf..tf-1 (<= 0: the piece as it is); each sequence is cut
 * to its first max_seq_len ids (a negative value -k drops the last k). ids [ids_cap] receives the
 * sequences one behind the other, starts [variants + 1] where each begins and where the last one
 * ends. Returns the number of sequences (>= 1). Errors: -MSIM_E_FORMAT (not MIDI, or damaged) and
 * -MSIM_E_EMPTY (no notes, or drums only), see msim_tokenizer_outcome; -MSIM_E_LIMIT when ids_cap
 * is too small; -MSIM_E_MEMORY. */
MSIM_API int64_t msim_tokenizer_encode(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                                       int transpose_factor, int64_t max_seq_len, int32_t *ids,
                                       size_t ids_cap, int64_t *starts, msim_error *err);
/* As above, one variant: every pitch moved by `semitones` and clamped to 1..127. Returns the number
 * of ids. */
MSIM_API int64_t msim_tokenizer_encode_at(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                                          int semitones, int64_t max_seq_len, int32_t *ids,
                                          size_t ids_cap, msim_error *err);
/* msim_outcome of the last call. It means nothing after -MSIM_E_MEMORY and -MSIM_E_LIMIT. */
MSIM_API int msim_tokenizer_outcome(const msim_tokenizer *tok);
/* Number of ids that the last successful encode would have given without max_seq_len. */
MSIM_API int64_t msim_tokenizer_full_length(const msim_tokenizer *tok);

/* What a file is, by its first bytes (512 of them are enough). */
enum msim_kind {
    MSIM_KIND_UNKNOWN = 0,
    MSIM_KIND_EMPTY,
    MSIM_KIND_MIDI,
    MSIM_KIND_RMID, /* a RIFF file with a MIDI file in it, which the tokeniser reads */
    MSIM_KIND_GZIP,
    MSIM_KIND_ZIP,
    MSIM_KIND_ARCHIVE, /* 7z, rar, bzip2, xz or zstd */
    MSIM_KIND_NPY,
    MSIM_KIND_AUDIO,
    MSIM_KIND_PDF,
    MSIM_KIND_HTML,
    MSIM_KIND_XML,
    MSIM_KIND_TOKEN_LINES, /* as midisim-tokens prints them */
    MSIM_KIND_TEXT
};
MSIM_API int msim_file_kind(const void *bytes, size_t n_bytes);
/* Words for a message: "a zip archive"; NULL for an unknown value. */
MSIM_API const char *msim_file_kind_name(int kind);
/* Where in a file's bytes the MIDI file is, and its length: 0 and all of them, or the place inside
 * an RMID file. Every function that takes MIDI bytes calls this one itself. */
MSIM_API size_t msim_midi_find(const void *bytes, size_t n_bytes, size_t *n_midi);

/* The bytes of a MIDI file, with gzip and RMID undone: a regular file of at most 256 MiB, also
 * decompressed. out [cap] gets as many as fit. Returns how many there are; where that is more than
 * cap, call again with a larger buffer. Errors: -MSIM_E_IO (it cannot be read, or changed
 * meanwhile), -MSIM_E_FORMAT (damaged gzip), -MSIM_E_LIMIT (too large), -MSIM_E_MEMORY. */
MSIM_API int64_t msim_midi_read(const char *path, unsigned char *out, size_t cap, msim_error *err);

/* A MIDI file in the original's normal form (docs/NORMALIZE.md), byte for byte: two files of the
 * same form are the same music written in two ways. out [cap] gets the bytes;
 * msim_midi_canonical_bound(n_bytes) is always enough. Returns how many there are. `tok` lends its
 * memory and gets the outcome. What is no MIDI at all gives an empty file, as there. Errors:
 * -MSIM_E_FORMAT where the original gives up; -MSIM_E_LIMIT when cap is too small; -MSIM_E_MEMORY.
 * After an error, what is in `out` means nothing. */
MSIM_API size_t msim_midi_canonical_bound(size_t n_bytes);
MSIM_API int64_t msim_midi_canonical(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                                     unsigned char *out, size_t cap, msim_error *err);

/* ---- Context: one caller's working memory and threads ---------------------------------------- */

typedef struct msim_context msim_context;

/* model may be NULL for a context that only searches. */
MSIM_API int msim_context_open(const msim_model *model, const msim_options *options,
                               msim_context **out, msim_error *err);
MSIM_API void msim_context_close(msim_context *ctx);

/* Embed n_seq sequences: sequence i is ids[starts[i] .. starts[i+1]), starts[0] = 0. class_weights:
 * NULL for the plain mean over tokens, else three weights for start-time, duration and pitch
 * tokens. out [n_seq, dim], not normalised. An empty sequence gives zeros. The same sequence gives
 * the same bits whatever else is in the batch. */
MSIM_API int msim_context_embed(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                                size_t n_seq, const float *class_weights, float *out,
                                msim_error *err);
/* As msim_context_embed in two steps, so that a device works on one batch while the caller prepares
 * the next. submit takes a batch: ids, starts and class_weights may be reused at once, out is
 * written before the wait that finishes this batch returns. At most MSIM_BATCHES_UNDER_WAY batches
 * are under way, another is -MSIM_E_LIMIT; a batch that submit refuses is not under way. wait
 * finishes the oldest one; without any it is -MSIM_E_ARG, and after another error that batch is
 * gone, its out as it was. Until all are finished, every other call with the context but stats and
 * close is -MSIM_E_ARG; close drops them. Results are msim_context_embed's, to the bit. On the CPU
 * submit does all the work. */
enum { MSIM_BATCHES_UNDER_WAY = 2 };
MSIM_API int msim_context_embed_submit(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                                       size_t n_seq, const float *class_weights, float *out,
                                       msim_error *err);
MSIM_API int msim_context_embed_wait(msim_context *ctx, msim_error *err);
/* The vectors before pooling: out [starts[n_seq], dim]. */
MSIM_API int msim_context_embed_tokens(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                                       size_t n_seq, float *out, msim_error *err);
/* L2-normalise n rows in place: row / max(norm, 1e-12), in f32. */
MSIM_API void msim_l2_normalize(float *rows, size_t n, size_t dim);

/* Parts of a forward pass that are timed. */
enum msim_stage {
    MSIM_STAGE_NORM = 0,   /* token rows and norms */
    MSIM_STAGE_PROJECTION, /* q, k, v with their rotary, and the attention's output */
    MSIM_STAGE_ATTENTION,
    MSIM_STAGE_FEED_FORWARD,
    MSIM_STAGE_POOLING,
    MSIM_STAGE_COUNT
};
/* "norms", "projections", ...; NULL for an unknown value. */
MSIM_API const char *msim_stage_name(int stage);

typedef struct {
    size_t size;               /* set by the caller (R6) */
    int64_t tokens, sequences; /* embedded so far */
    double embed_seconds;      /* wall time inside embed */
    double search_seconds;     /* wall time inside search */
    int64_t rows_scored;       /* rows x queries scored so far */
    int64_t rows_nonfinite;    /* rows with NaN or infinity among those of the last search, excluded
                                * ones too */
    int64_t rows_evaluated;    /* row x query scores that the last search evaluated in double */
    int scan;                  /* msim_scan that the last search used; 0 before any */
    int search_device;         /* msim_device that searches, never AUTO */
    double stage_seconds[MSIM_STAGE_COUNT]; /* inside each stage, summed over threads; 0 where a
                                             * device does not tell */
} msim_stats;

MSIM_API int msim_context_stats(const msim_context *ctx, msim_stats *out);

/* ---- Corpora written, looked up and merged --------------------------------------------------- */

typedef struct msim_corpus_writer msim_corpus_writer;

typedef struct {
    size_t size; /* set by the caller (R6) */
    int64_t rows, dim;
    int64_t name_chars;       /* structured: code points of the longest name, at least 1 is used;
                               * else ignored */
    int dtype;                /* msim_dtype, as the format allows it */
    int format;               /* msim_format */
    const char *name_field;   /* structured, pickled: NULL is "midi_names" */
    const char *vector_field; /* structured, pickled: NULL is "midi_embeddings" */
} msim_corpus_layout;

/* Write a corpus, and for the forms that hold no names PATH.names with one a line (a name with a
 * newline in it is refused there). Bytes go to temporary files beside `path`, which take their
 * names in finish; close without finish removes them. Exactly `rows` rows must be added. A number
 * that is finite, but not in the type it is stored in, is refused; NaN and infinity are stored. add
 * allocates nothing. */
MSIM_API int msim_corpus_writer_open(const char *path, const msim_corpus_layout *layout,
                                     msim_corpus_writer **out, msim_error *err);
MSIM_API int msim_corpus_writer_add(msim_corpus_writer *w, const char *name, size_t name_bytes,
                                    const float *row, msim_error *err);
MSIM_API int msim_corpus_writer_finish(msim_corpus_writer *w, msim_error *err);
MSIM_API void msim_corpus_writer_close(msim_corpus_writer *w);
/* 1 when rows can be stored so: the form has that type. */
MSIM_API int msim_format_has_dtype(int format, int dtype);
/* Code points that a name takes in a '<U' field (bytes that are not UTF-8 count one each). */
MSIM_API int64_t msim_name_chars(const char *name, size_t name_bytes);

/* ---- Small copies: what makes exact search read less ----------------------------------------- */

/* Write the small copy of one part of a corpus, for MSIM_SCAN_INT8 (528 bytes a row of width 512)
 * or MSIM_SCAN_BF16 (1,032): CORPUS.npy.msim by custom. A form that the file holds already, of the
 * same rows, stays in it. Goes to a temporary file first; an existing copy_path is replaced. The
 * bytes depend on the corpus file alone, not on machine, level or threads (0: one for each
 * processor). progress may be NULL; it is called on this thread now and then with rows done and
 * rows in all, and stops the work when it returns non-zero: -MSIM_E_STOPPED, and nothing is
 * written. */
MSIM_API int msim_corpus_write_codes(const msim_corpus *corpus, int64_t part, const char *copy_path,
                                     int scan, int threads,
                                     int (*progress)(void *user, int64_t done, int64_t all),
                                     void *user, msim_error *err);
/* Use a copy (before msim_context_load_corpus; not while a context has the corpus loaded). 64 tiles
 * of 16 rows are made anew from the rows and compared; all of them with is_full, or when the size
 * or time of the corpus's file is not what it was for prepare. -MSIM_E_FORMAT: damaged or not of
 * these rows: prepare it again. */
MSIM_API int msim_corpus_attach_codes(msim_corpus *corpus, int64_t part, const char *copy_path,
                                      int is_full, msim_error *err);
/* 1 when the copy attached to a part serves this msim_scan, else 0. */
MSIM_API int msim_corpus_has_codes(const msim_corpus *corpus, int64_t part, int scan);

/* ---- Search ---------------------------------------------------------------------------------- */

/* Attach a corpus to a context (replacing an earlier one, also when it fails for want of memory or
 * by the device). The corpus must outlive its use. */
MSIM_API int msim_context_load_corpus(msim_context *ctx, const msim_corpus *corpus,
                                      msim_error *err);
/* Attach rows first .. first + n - 1 of it alone; results keep their numbers of the whole corpus.
 * (For several processes that share the work: merged by score and row, their results are those of
 * one.) */
MSIM_API int msim_context_load_rows(msim_context *ctx, const msim_corpus *corpus, int64_t first,
                                    int64_t n, msim_error *err);

/* Exact top k by cosine for each of n_query queries [n_query, dim]. rows and scores [n_query, k],
 * best first; the score is evaluated in double in one fixed order, and equal scores rank the lower
 * row first, so results are the same on every device, level, thread count and scan form. Zero rows
 * score 0; rows with NaN or infinity rank after all others with score -infinity. Returns the
 * entries for each query: min(k, rows). */
MSIM_API int64_t msim_context_search(msim_context *ctx, const float *queries, size_t n_query,
                                     int64_t k, int64_t *rows, double *scores, msim_error *err);
/* As msim_context_search, which is this with the defaults (options NULL). Returns the entries for
 * each query: min(k, rows that are not excluded); query q's stand at rows + q * k. Excluded rows
 * that are not loaded are ignored. */
MSIM_API int64_t msim_context_search_with(msim_context *ctx, const msim_search_options *options,
                                          const float *queries, size_t n_query, int64_t k,
                                          int64_t *rows, double *scores, msim_error *err);

/* Every row with score >= threshold (as doubles; rows with NaN or infinity never, whatever the
 * threshold), handed to `sink` in no order. Returns how many were handed over, over all queries,
 * also when sink ended it; what the sink was given before an error stays given. The sink must not
 * use the context. */
MSIM_API int64_t msim_context_search_above(msim_context *ctx, const msim_search_options *options,
                                           const float *queries, size_t n_query, double threshold,
                                           msim_hit_sink sink, void *user, msim_error *err);

#ifdef __cplusplus
}
#endif
#endif
