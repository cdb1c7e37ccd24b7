/* midisim finds similar music among MIDI files. This is the only public header of libmidisim.
 *
 *   msim_error e;
 *   msim_model *model;
 *   float vector[512];
 *   msim_model_open("weights/midisim-small.safetensors", NULL, &model, &e);
 *   msim_embed_file(model, NULL, "song.mid", 0, vector, &e);
 *
 * The header has three storeys: 1. simple calls, 2. handles, 3. building blocks. Most programs need
 * only the first two.
 *
 * These rules hold for every function:
 *
 *  R1 errors     A function that can fail returns int or int64_t. A value >= 0 means success or is
 *                a count; a value < 0 is minus an msim_status. On failure, `err` holds one line
 *                that says what failed and where; `err` may be NULL. Unless the function says
 *                otherwise, a failure leaves outputs untouched and sets a new handle to NULL.
 *
 *  R2 threads    An msim_model, an msim_corpus, an msim_whitening and an msim_notes never change
 *                after open, and threads may share them. One thread at a time may use any other
 *                handle.
 *
 *  R3 ownership  Results go into the caller's buffers. Their sizes are known before the call. The
 *                caller frees nothing that a function returns. Close a context before what it was
 *                opened on. Every close function accepts NULL.
 *
 *  R4 memory     The msim_context_embed and msim_context_search functions allocate nothing. A
 *                context takes its memory when it is opened and when a corpus is loaded into it.
 *
 *  R5 quiet      The library never prints and never exits. Only msim_default_ functions read the
 *                environment. A thread of the library ends with its handle or its call.
 *
 *  R6 structs    Public structs that may grow begin with `size`. Set it to the sizeof of the struct
 *                before the library reads or fills the struct; an ..._default() function does this.
 *
 *  R7 fork       A forked child may use the models, corpora and tokenisers that its parent opened.
 *                It may also use contexts on the CPU, which then run on the calling thread alone. A
 *                context on a CUDA device fails there with -MSIM_E_DEVICE. Closing a handle never
 *                waits. All this needs that no other thread was inside the library at the fork.
 *
 *  R8 mappings   Corpora and models are read through mappings. Replace such a file by renaming a
 *                new one over it. When another program changes a file in place, searches fail with
 *                -MSIM_E_IO, and so does msim_corpus_check: call it after reading names and
 *                vectors. When a file is cut short, reading the lost part raises SIGBUS. A program
 *                that must not end without a word handles SIGBUS: it calls
 *                msim_remove_temporary_files, writes a line and ends with _exit, as the tools do.
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
/* The version of the library that the program runs with, as MSIM_VERSION. Static storage. */
MSIM_API const char *msim_version(void);
/* Tokens of a sequence that the models were trained on: the default of every max_tokens. */
#define MSIM_TRAINED_TOKENS 3072
/* The largest absolute value of a class weight. */
#define MSIM_MAX_CLASS_WEIGHT 1e6

/* ---- Status ---------------------------------------------------------------------------------- */

/* Functions return these codes negated. The numbers never change, and no code is used again for
 * something else. */
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

/* Remove the temporary files of all writes that are under way. This is for the handler of a signal
 * that ends the process: it only calls functions that are safe there. */
MSIM_API void msim_remove_temporary_files(void);

/* Name of a return code ("ok", "format", ...). Both signs are accepted. Static storage. */
MSIM_API const char *msim_status_name(int rc);

/* ---- Options --------------------------------------------------------------------------------- */

enum msim_device { MSIM_DEVICE_AUTO = 0, MSIM_DEVICE_CPU = 1, MSIM_DEVICE_CUDA = 2 };
/* Kernel levels of the CPU. A larger number is not a faster level; msim_isa_list has the order. */
enum msim_isa {
    MSIM_ISA_AUTO = 0,
    MSIM_ISA_REF = 1,
    MSIM_ISA_AVX2 = 2,
    MSIM_ISA_AVX512 = 3,
    MSIM_ISA_AVX512BF16 = 4,
    MSIM_ISA_AMXBF16 = 5
};
enum { MSIM_GPU_ALL = -1, MSIM_GPU_MAX_K = 1024 };
enum msim_precision { MSIM_PRECISION_BF16 = 0, MSIM_PRECISION_F32 = 1, MSIM_PRECISION_INT8 = 2 };

/* How models and contexts run. Start from msim_options_default(). */
typedef struct {
    size_t size;              /* sizeof(msim_options), set by the caller (R6) */
    int device;               /* msim_device; AUTO: CUDA when a device opens and can do what is
                               * asked, else the CPU */
    int gpu;                  /* index of the CUDA device (default 0); MSIM_GPU_ALL divides
                               * sequences and rows among all devices, with the same results */
    int threads;              /* 1..1024; 0: one per processor that this process may run on */
    int isa;                  /* msim_isa; a level that the CPU or the build lacks is refused; any
                               * level but AUTO makes device AUTO mean the CPU */
    int precision;            /* msim_precision; CUDA has bf16 alone */
    int64_t max_batch_tokens; /* the most tokens in one call of embed (default 16,384) */
    int64_t max_batch_seqs;   /* the most sequences in one call of embed (default 256) */
    int64_t max_queries;      /* the most queries of one search (default 64) */
    int64_t max_k;            /* the most results per query (default 1,024; CUDA: at most
                               * MSIM_GPU_MAX_K) */
    /* How MIDI files become tokens of a model of midisimx; 0 for other models, and for contexts. */
    int token_order; /* msim_token_order; default time-first, as published models were trained */
    int is_unclean;  /* as in msim_tokenizer_options; default 0 */
} msim_options;

/* Fill in the defaults. The caller sets options->size first. This function is for bindings; C
 * programs call msim_options_default. */
MSIM_API void msim_options_init(msim_options *options);
static inline msim_options msim_options_default(void) {
    msim_options options;
    options.size = sizeof options;
    msim_options_init(&options);
    return options;
}

/* Names of levels and precisions as the tools spell them ("avx2", "bf16"). NULL for an unknown
 * value. */
MSIM_API const char *msim_isa_name(int isa);
MSIM_API const char *msim_precision_name(int precision);
/* The levels in this build, from the reference to the fastest. Returns the level (msim_isa) at
 * `index`, counted from 0, or -1 past the last. */
MSIM_API int msim_isa_list(int index);
/* What a level needs from the CPU at a precision: words of /proc/cpuinfo, separated by spaces. The
 * reference needs none: "". NULL when this build lacks the level, or the level lacks the
 * precision. */
MSIM_API const char *msim_isa_needs(int isa, int precision);
/* 1 when this build and this CPU have the level for the precision, else 0. */
MSIM_API int msim_isa_is_available(int isa, int precision);
/* The fastest level (msim_isa, never AUTO) that this build and this CPU have. */
MSIM_API int msim_isa_best(void);
/* 1 when this build was compiled with CUDA kernels, else 0. */
MSIM_API int msim_has_cuda(void);

/* One CUDA device. A device that is too old for this library is described too. */
typedef struct {
    size_t size; /* sizeof(msim_gpu_info), set by the caller (R6) */
    char name[64];
    int major, minor; /* compute capability */
    int multiprocessors;
    int64_t memory_bytes;
} msim_gpu_info;

/* The number of devices that the driver shows. 0 without a driver, or when this build has no
 * CUDA. */
MSIM_API int msim_gpu_count(void);
/* Describe device `gpu`, counted from 0. */
MSIM_API int msim_gpu_get_info(int gpu, msim_gpu_info *out, msim_error *err);

/* ---- Options of searches --------------------------------------------------------------------- */

/* The score: the cosine, or the plain dot product. Both are summed in double in one fixed order. */
enum msim_metric { MSIM_METRIC_COSINE = 0, MSIM_METRIC_IP = 1 };
/* How a search passes over the rows. Every scan gives the same results to the last bit. F64 scores
 * every row in double. The other scans first leave out rows that cannot be results, by a proven
 * bound, and score the rest in double (docs/SEARCH.md). AUTO takes int8 codes when they are
 * attached and the level has kernels for them, else bf16 codes, else F32. */
enum msim_scan {
    MSIM_SCAN_AUTO = 0,
    MSIM_SCAN_F64 = 1,
    MSIM_SCAN_F32 = 2,
    MSIM_SCAN_BF16 = 3,
    MSIM_SCAN_INT8 = 4
};

/* Start from msim_search_options_default(). */
typedef struct {
    size_t size;             /* sizeof(msim_search_options), set by the caller (R6) */
    int metric;              /* msim_metric; IP works with the scans AUTO, F64 and F32 */
    int scan;                /* msim_scan; BF16 and INT8 need codes attached to every part with
                              * rows, else they are refused */
    const int64_t *excluded; /* borrowed: rows that are never results, ascending, without
                              * duplicates; NULL: none */
    size_t n_excluded;
    int (*should_stop)(void *user); /* called now and then during a search, on any thread; non-zero
                                     * ends the search with -MSIM_E_STOPPED; NULL: never */
    void *stop_user;                /* passed to should_stop */
} msim_search_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_search_options_init(msim_search_options *options);
static inline msim_search_options msim_search_options_default(void) {
    msim_search_options options;
    options.size = sizeof options;
    msim_search_options_init(&options);
    return options;
}
/* "auto", "f64", "f32", "bf16", "int8"; NULL for an unknown value. */
MSIM_API const char *msim_scan_name(int scan);

/* Receives one hit: query number, row and score. Return 0 to go on; any other value ends the
 * search. The library calls this function from one thread at a time, which may be any thread of the
 * context. */
typedef int (*msim_hit_sink)(void *user, size_t query, int64_t row, double score);

/* ==== 1. Simple calls ======================================================================== */

/* Open a model, then embed a file or the bytes of one. examples/find.c is a whole program. To turn
 * a folder into a corpus, use an msim_job; to find a file's matches in any key, an msim_searcher.
 * Both are handles, below. */
typedef struct msim_model msim_model;

/* Find the model that the tools use when none is named, and write its path into path [cap].
 * MIDISIM_MODEL comes first. Then come four folders: weights in the build tree that the program
 * lies in, $XDG_DATA_HOME/midisim (else ~/.local/share/midisim), share/midisim beside the program's
 * folder bin, and PREFIX/share/midisim. Within a folder, midisim-small.* comes before other models.
 * -MSIM_E_EMPTY when there is no model; the error says where the function looked. */
MSIM_API int msim_default_model(char *path, size_t cap, msim_error *err);
/* Embed one MIDI file, or the bytes of one, as one vector: out [dim of the model]. The file may be
 * compressed with gzip. Every pitch is first moved by `transpose` semitones. The vector is the
 * plain mean over the first tokens, as many as the model was trained with; it is not normalised.
 * Each call opens a context; for many files, open a context once and keep it. */
MSIM_API int msim_embed_file(const msim_model *model, const msim_options *options, const char *path,
                             int transpose, float *out, msim_error *err);
MSIM_API int msim_embed_midi(const msim_model *model, const msim_options *options, const void *midi,
                             size_t n_bytes, int transpose, float *out, msim_error *err);

/* ==== 2. Handles ============================================================================= */

/* A handle is opened, used many times and closed: models, jobs, corpora, searchers. */

/* ---- Model ----------------------------------------------------------------------------------- */

typedef struct {
    size_t size;        /* sizeof(msim_model_info), set by the caller (R6) */
    int64_t dim;        /* width of a vector */
    int64_t depth;      /* blocks of attention and feed-forward */
    int64_t heads;      /* attention heads, each 64 wide */
    int64_t vocab;      /* rows of the token table; ids 0..vocab-1 are accepted */
    int precision;      /* msim_precision in use */
    int device;         /* msim_device in use, never AUTO */
    int isa;            /* msim_isa in use on the CPU */
    char family[24];    /* "midisim-small", "midisim-large", "midisim-custom", "midisimx-tiny",
                         * "midisimx-base" or "midisimx-custom" */
    char sha256[65];    /* SHA-256 of the checkpoint that the weights came from, in lower-case
                         * hexadecimal */
    int n_classes;      /* classes of token ids that weighted pooling tells apart */
    int takes_midi;     /* 1: the tokeniser can turn MIDI files into this model's tokens; 0: the
                         * model takes token ids alone */
    int64_t max_tokens; /* the longest sequence that models of this family were trained on */
    int token_family;   /* msim_family whose tokens it reads; -1: not known */
    int token_order;    /* msim_token_order in which MIDI files become its tokens */
    int is_unclean;     /* 1: notes of all instruments but drums become tokens */
} msim_model_info;

/* Open a checkpoint: .safetensors as midisim-convert writes it, or the original's .pth. Names and
 * shapes of the tensors are checked, and that every weight is finite. The weights are laid out for
 * the device. The library does not need the file afterwards.
 *
 * The vocabulary says which family a model is of: 386 tokens are midisim's, 720 are midisimx's. For
 * a model of another family than midisimx, -MSIM_E_ARG when the options ask for an order of tokens
 * or for all instruments. */
MSIM_API int msim_model_open(const char *path, const msim_options *options, msim_model **out,
                             msim_error *err);
MSIM_API int msim_model_get_info(const msim_model *model, msim_model_info *out);
MSIM_API void msim_model_close(msim_model *model);

/* What a checkpoint file holds. */
typedef struct {
    size_t size; /* sizeof(msim_checkpoint_info), set by the caller (R6) */
    int64_t dim, depth, heads, vocab;
    int64_t tensors, parameters; /* tensors in the file; elements that embedding uses or carries */
    int all_f32;                 /* 1: every tensor is stored in f32 */
    char container[16];          /* "safetensors", "pth-zip" or "pth-legacy" */
    char family[24];
    char sha256[65]; /* as in msim_model_info */
} msim_checkpoint_info;

/* Describe a checkpoint without laying it out for a device. Every tensor is read and checked. */
MSIM_API int msim_checkpoint_get_info(const char *path, msim_checkpoint_info *out, msim_error *err);
/* Write a checkpoint as safetensors. dtype MSIM_DTYPE_F32 loses nothing of f32 weights.
 * MSIM_DTYPE_BF16 rounds matrices and biases to the nearest, ties to even; the token table, gammas
 * and inv_freq stay f32, because bf16 precision uses them so. The bytes go to a temporary file,
 * which then replaces an existing `out_path`. */
MSIM_API int msim_checkpoint_convert(const char *path, const char *out_path, int dtype,
                                     msim_error *err);

/* ---- Jobs: a folder to a corpus -------------------------------------------------------------- */

/* A job turns MIDI files into a corpus. It lists files and folders, reads and tokenises the files
 * on several threads, and embeds files of the same content once. It writes CORPUS.npy and the
 * description CORPUS.npy.json. Finished work goes into CORPUS.npy.journal at once. So a job that
 * ended in any way goes on where it was, once it is opened again with the same options.
 *
 *   msim_job_options o = msim_job_options_default();
 *   msim_job *job;
 *   o.output = "corpus.npy";  o.paths = &folder;  o.n_paths = 1;
 *   o.model_path = "weights/midisim-small.safetensors";
 *   int rc = msim_job_open(&o, &job, &e);
 *   if (rc >= 0) rc = msim_job_run(job, &e);
 *   msim_job_close(job);
 *
 * One thread at a time may use a job. */
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
    MSIM_SKIP_CHANGED,    /* its size or time changed after it was listed */
    MSIM_SKIP_NO_MEMORY,  /* it alone needs more memory than there is */
    MSIM_SKIP_NOT_FINITE, /* the model gave NaN or infinity for it: its weights overflow */
    MSIM_SKIP_NO_CLEAN_NOTES,
    MSIM_SKIP_COUNT
};
/* "unreadable", "not-regular", ...; "ok" for MSIM_SKIP_NONE, "unknown" for an unknown value. */
MSIM_API const char *msim_skip_reason_name(int reason);

/* How rows are named. PATH: the path, relative to the folder when exactly one folder is given.
 * STEM: the base name without its extension. */
enum msim_names { MSIM_NAMES_PATH = 0, MSIM_NAMES_STEM = 1 };

/* What a job is doing, in this order, and what `done` and `all` of its progress count. */
enum msim_job_step {
    MSIM_STEP_NONE = 0, /* between two steps */
    MSIM_STEP_LIST,     /* files found so far; all is -1 */
    MSIM_STEP_JOURNAL,  /* bytes of an earlier run's journal */
    MSIM_STEP_EMBED,    /* finished files, or finished token lines (all is then -1) */
    MSIM_STEP_WRITE     /* rows written */
};

typedef struct {
    size_t size; /* set by the library: the struct as the library knows it */
    int step;    /* msim_job_step */
    int64_t done, all;
    int64_t tokens;     /* MSIM_STEP_EMBED: tokens that this run has embedded */
    int64_t tokens_all; /* how many this run has to embed: an estimate until the last file is read;
                         * -1: not known */
} msim_job_progress;

enum msim_message_level { MSIM_MESSAGE_NOTE = 0, MSIM_MESSAGE_WARNING, MSIM_MESSAGE_ERROR };

/* How several processes (ranks) that do one job reach each other. Rank 0 prepares, writes and
 * reports; every rank embeds its share. Unless it says otherwise, a function is collective: every
 * rank calls it, all ranks in the same order. When communication itself fails, the function ends
 * all ranks. The library calls these functions on the job's thread; only counter_add may come from
 * others. */
typedef struct {
    size_t size; /* sizeof(msim_ranks), set by the caller (R6) */
    void *user;  /* passed to every function */
    int index;   /* of this process, from 0 */
    int count;
    /* Agree on a result. When no rank failed (rc < 0), each rank gets its own rc back. Otherwise
     * all ranks get the rc of the lowest rank that failed, and its text in err. */
    int (*agree)(void *user, int rc, msim_error *err);
    /* Send n bytes from rank `from` to all ranks. */
    void (*broadcast)(void *user, int from, void *bytes, size_t n);
    /* Replace values [n], n <= 16, by their sums over all ranks. */
    void (*sum)(void *user, int64_t *values, int n);
    /* Send n bytes from one rank to another. The receiver first calls expect, which returns how
     * many bytes are meant for it. Only these two ranks call these functions. */
    void (*send)(void *user, int to, const void *bytes, size_t n);
    size_t (*expect)(void *user, int from);
    void (*receive)(void *user, int from, void *bytes, size_t n);
    /* A counter in rank 0's memory; counter_open sets it to 0. counter_add adds n and returns the
     * value before. counter_add is not collective and may come from any thread. */
    void (*counter_open)(void *user);
    int64_t (*counter_add)(void *user, int64_t n);
    void (*counter_close)(void *user);
} msim_ranks;

/* Start from msim_job_options_default(). The job borrows everything that a pointer names until it
 * is closed. */
typedef struct {
    size_t size;        /* sizeof(msim_job_options), set by the caller (R6) */
    const char *output; /* the corpus to write (.npy) */

    /* What to embed: the files and folders of `paths`, and the paths in the file `files_from`, one
     * per line or separated by NUL. Or, instead, the token lines of midisim-tokens in
     * `from_tokens`. The name "-" of either file means standard input. */
    const char *const *paths;
    size_t n_paths;
    const char *files_from;
    int is_nul_separated;
    const char *from_tokens;
    int names;               /* msim_names */
    int64_t shard, n_shards; /* embed only the files of one shard, 1..n_shards; n_shards 0: all */

    /* What a vector is. */
    int transpose;              /* semitones, -12..12 */
    int64_t max_tokens;         /* use only this many first tokens of a piece; 0: all; -1 (default):
                                 * as many as the model was trained with, or with windows all */
    const float *class_weights; /* as for msim_context_embed; NULL: the plain mean */
    int is_l2_normalized;       /* 1: scale vectors to length 1 */

    /* How the corpus is stored. */
    int dtype;                /* MSIM_DTYPE_F32 (default) or MSIM_DTYPE_F16 */
    const char *name_field;   /* NULL: "midi_names" */
    const char *vector_field; /* NULL: "midi_embeddings" */

    /* What to do with an output that exists. */
    int is_update;       /* 1: bring it up to date; rows of unchanged files are kept */
    int is_forced;       /* 1: replace it, and continue an unfinished one even at another level or
                          * on another device */
    int is_journal_kept; /* 1: keep the journal when the corpus is complete */

    const msim_model *model;     /* NULL: the job opens model_path */
    const char *model_path;      /* used when model is NULL */
    const msim_options *options; /* of the model and the encoder; NULL: the defaults */

    /* Called now and then on the thread that runs the job, also when nothing has changed. Any
     * return value but 0 stops the job with -MSIM_E_STOPPED. NULL: the job runs to its end. */
    int (*progress)(void *user, const msim_job_progress *progress);
    /* Receives one line for the user, without a newline, and its msim_message_level. Called on the
     * thread that runs the job. NULL: no messages. */
    void (*message)(void *user, int level, const char *text);
    void *user; /* passed to progress and message */

    const msim_ranks *ranks; /* NULL: this process alone */

    /* Windows: several rows for each piece, one for each stretch of it, all with its name. A
     * window holds at most window_tokens tokens (16..2^20; 0, the default: one row for each
     * piece), and is cut between two notes. The next window begins at the last note that is at
     * most window_step tokens further (0: half of window_tokens). The last window is as long as
     * the others: it begins earlier if need be. max_tokens cuts the piece first, and the windows
     * cover what is left. Not with from_tokens. msim_corpus_span says where a row lies. */
    int64_t window_tokens, window_step;
    /* 1: the job remembers the tokens, notes and seconds of each input for msim_job_get_piece: 24
     * bytes per file. */
    int is_detailed;
    /* With window_tokens, 1: one row for each piece again, the mean of the vectors of all its
     * windows. Sums are in double, in the order of the windows. With is_l2_normalized, the mean is
     * scaled, not the windows. */
    int is_pooled;
    /* A note index to write in the same pass over the files (Note index, below): its bytes are
     * those of msim_notes_build, with its default options, over the same files. It holds whole
     * pieces as the files have them, whatever transpose, max_tokens and windows say, and also
     * pieces that gave no row. NULL: none. Not with from_tokens. Where a corpus or a journal was
     * made without it, its files are read again for their notes alone. */
    const char *notes;
    /* How many class_weights there are: another number than the model's classes is refused. 0 (the
     * default): as many as it has. */
    int n_class_weights;
} msim_job_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_job_options_init(msim_job_options *options);
static inline msim_job_options msim_job_options_default(void) {
    msim_job_options options;
    options.size = sizeof options;
    msim_job_options_init(&options);
    return options;
}

/* Do everything that comes before the work: check the output, open the model, list the inputs, and
 * read what earlier runs left. The job locks its journal, so a second job on the same output is
 * refused. */
MSIM_API int msim_job_open(const msim_job_options *options, msim_job **out, msim_error *err);

/* How a run ended when it did not fail. */
enum msim_job_result {
    MSIM_JOB_WRITTEN = 0,   /* the corpus is written */
    MSIM_JOB_UP_TO_DATE,    /* the corpus already held these rows and is left as it is */
    MSIM_JOB_NOTHING_TO_DO, /* the output is complete, with the same settings and files */
    MSIM_JOB_OF_RANK_0      /* this rank has done its share; rank 0 knows the result */
};

/* Embed what is left and write the corpus. Returns an msim_job_result. -MSIM_E_STOPPED when
 * progress asked to stop. -MSIM_E_EMPTY when no input gave a row; then nothing is written. After
 * any error, the journal holds what was finished. */
MSIM_API int msim_job_run(msim_job *job, msim_error *err);
/* After msim_job_run failed in the encoder and when no output exists yet: write the finished rows
 * as an incomplete corpus. Returns how many rows were written, or 0 in any other situation. */
MSIM_API int64_t msim_job_write_finished(msim_job *job, msim_error *err);

typedef struct {
    size_t size;           /* sizeof(msim_job_stats), set by the caller (R6) */
    int has_work;          /* 0: the output is complete and msim_job_run will do nothing */
    int is_of_lines;       /* 1: the inputs are token lines, not files */
    int is_updating;       /* 1: the output exists and is brought up to date */
    int has_input;         /* 1: the content of at least one input is known */
    int64_t files, rows;   /* inputs (files or token lines); rows of the corpus */
    int64_t done;          /* inputs that have a row or a reason to have none */
    int64_t done_before;   /* of these, inputs that earlier runs finished */
    int64_t kept;          /* unchanged inputs, whose rows an update keeps */
    int64_t dropped;       /* rows that an update drops, because their files are gone */
    int64_t read;          /* files read by this run */
    int64_t tokens;        /* tokens embedded by this run */
    int64_t cut;           /* inputs longer than max_tokens */
    int64_t shared;        /* rows with the same content as an earlier row */
    int64_t unread;        /* files that could not be read; the next run tries them again */
    int64_t skips;         /* inputs that gave no row: see msim_job_get_skip */
    int64_t failures;      /* of these, all but files without notes that a folder listed */
    int64_t empty_folders; /* given folders that hold no MIDI file */
    double seconds;        /* since the job was opened */
    int device, isa;       /* msim_device and msim_isa of this run */
    int precision;         /* msim_precision */
    int64_t skipped[16];   /* inputs that gave no row, by msim_skip_reason */
    int64_t pieces;        /* inputs that gave rows: without windows, as many as rows */
    int64_t failed;        /* of the failures, those that fail again when the job is repeated; known
                            * also when there was nothing to do */
    int64_t indexed;       /* pieces of the note index that this run wrote or left as it was */
    int is_corpus_unchanged, is_index_unchanged; /* 1: was up to date and is left as it is */
} msim_job_stats;

MSIM_API int msim_job_get_stats(const msim_job *job, msim_job_stats *out);

/* A piece: an input that gave a row, or with windows several. */
typedef struct {
    size_t size;      /* sizeof(msim_job_piece), set by the caller (R6) */
    const char *path; /* borrowed from the job */
    int is_cut;       /* 1: it is longer than max_tokens */
    /* -1: not known. With is_detailed, tokens are known of what is in the journal of the job, notes
     * and seconds of the files that this run has read. */
    int64_t tokens; /* that were embedded */
    int64_t notes;  /* without drums and what the clean-up drops */
    double seconds; /* to the end of the last note */
} msim_job_piece;

/* One of the pieces, in the order of the rows: index 0..stats.pieces-1, once the corpus is written.
 */
MSIM_API int msim_job_get_piece(const msim_job *job, int64_t index, msim_job_piece *out);

/* An input that gave no row. */
typedef struct {
    size_t size;        /* sizeof(msim_skip), set by the caller (R6) */
    const char *path;   /* borrowed from the job, as is detail */
    const char *detail; /* more about the reason; may be empty */
    int reason;         /* msim_skip_reason */
    int is_failure;     /* 0: a file without notes that a folder listed, which is quite usual */
} msim_skip;

/* One of the inputs that gave no row, in the order of the inputs: index 0..stats.skips-1. */
MSIM_API int msim_job_get_skip(const msim_job *job, int64_t index, msim_skip *out);
MSIM_API void msim_job_close(msim_job *job);

/* ---- Corpus: named rows on disk -------------------------------------------------------------- */

typedef struct msim_corpus msim_corpus;

enum msim_dtype { MSIM_DTYPE_F32 = 0, MSIM_DTYPE_F16 = 1, MSIM_DTYPE_BF16 = 2, MSIM_DTYPE_F64 = 3 };
/* "f32", "f16", "bf16", "f64"; NULL for an unknown value. */
MSIM_API const char *msim_dtype_name(int dtype);

/* How a file stores its rows (docs/FORMATS.md, Corpora), and the types that each format can be
 * written with. */
enum msim_format {
    MSIM_FORMAT_STRUCTURED = 0, /* .npy records, names as '<U'; f32 or f16 */
    MSIM_FORMAT_PLAIN = 1,      /* .npy of two axes, names in PATH.names; f32, f16 or bf16 */
    MSIM_FORMAT_PICKLED = 2,    /* .npy as the original saves it under NumPy 1.26, byte for byte;
                                 * f32 or f16 */
    MSIM_FORMAT_FVECS = 3,      /* the width before each row, names in PATH.names; f32 */
    MSIM_FORMAT_FBIN = 4        /* the number of rows and their width before all rows, names in
                                 * PATH.names; f32 */
};

/* "structured", "plain", ...; NULL for an unknown value. */
MSIM_API const char *msim_format_name(int format);

typedef struct {
    size_t size; /* sizeof(msim_corpus_info), set by the caller (R6) */
    int64_t rows, dim;
    int dtype;       /* msim_dtype of the stored rows; with several files, of the first one that
                      * has rows */
    int has_names;   /* 0: the name of a row is its number */
    char format[24]; /* as msim_format_name spells it; "mixed" when the files differ */
    int64_t parts;   /* files of the corpus */
} msim_corpus_info;

/* Open a corpus: a file of any format, or a folder. The names .fvecs and .fbin tell those formats;
 * a .npy file tells its own by its bytes. The .npy, .fvecs and .fbin files of a folder, in bytewise
 * order of name, are one corpus.
 *
 * Files are mapped read-only and not copied. A pickled file is read through once, by a reader that
 * can neither import nor call anything; after that it needs 16 bytes of memory per row.
 *
 * names_path names a text file with one name per line, for rows that have no names; it may be NULL.
 * Then FILE.names beside such a file is used if it exists.
 *
 * R8 says what happens when a file changes while it is open. */
MSIM_API int msim_corpus_open(const char *path, const char *names_path, msim_corpus **out,
                              msim_error *err);
/* Open several files or folders of the same width as one corpus. Rows are numbered through all of
 * them in the given order. */
MSIM_API int msim_corpus_open_many(const char *const *paths, size_t n_paths, const char *names_path,
                                   msim_corpus **out, msim_error *err);
/* A part is a file of the corpus. msim_corpus_parts counts them. */
MSIM_API int64_t msim_corpus_parts(const msim_corpus *corpus);
/* The path of a part, borrowed from the corpus. NULL when the part is out of range. */
MSIM_API const char *msim_corpus_part_path(const msim_corpus *corpus, int64_t part);
/* The number of a part's first row. With part == parts, the number of all rows. A negative status
 * when the part is out of range. */
MSIM_API int64_t msim_corpus_part_first(const msim_corpus *corpus, int64_t part);
/* The number of rows in a part. A negative status when the part is out of range. */
MSIM_API int64_t msim_corpus_part_rows(const msim_corpus *corpus, int64_t part);
MSIM_API int msim_corpus_get_info(const msim_corpus *corpus, msim_corpus_info *out);
/* A fingerprint of the names and values of a part's rows, in their order: of more than 1,024 rows,
 * of 1,024 that are spread evenly. The description of a corpus holds it, so that a description of
 * other rows is recognised. It does not depend on the format of the file. `out` gets
 * MSIM_FINGERPRINT_CHARS hexadecimal digits and a NUL. */
enum { MSIM_FINGERPRINT_CHARS = 32 };
MSIM_API int msim_corpus_fingerprint(const msim_corpus *corpus, int64_t part, char *out,
                                     msim_error *err);
/* -MSIM_E_IO when a file of the corpus was changed in place since it was opened (R8). */
MSIM_API int msim_corpus_check(const msim_corpus *corpus, msim_error *err);
MSIM_API int64_t msim_corpus_rows(const msim_corpus *corpus);
/* Write the name of a row into buf [cap], shortened to cap - 1 bytes and NUL-terminated. Names are
 * UTF-8; bytes that are not UTF-8 stay as they are on disk. A row without a name has its number in
 * the corpus as its name. Returns the full length in bytes, or a negative status when the row is
 * out of range. */
MSIM_API int64_t msim_corpus_name(const msim_corpus *corpus, int64_t row, char *buf, size_t cap);
/* Read one row into out [dim]. Smaller types are widened to f32 exactly; f64 is rounded to f32. */
MSIM_API int msim_corpus_vector(const msim_corpus *corpus, int64_t row, float *out,
                                msim_error *err);
MSIM_API void msim_corpus_close(msim_corpus *corpus);

/* Where a row lies in its piece. A row is a whole piece or a window of one. The windows of a piece
 * are rows that follow each other and have the same name. This struct never grows, because callers
 * have arrays of it. */
typedef struct {
    int64_t piece;                   /* its number in the corpus, from 0 */
    int64_t from_token, to_token;    /* tokens from_token .. to_token - 1 of the piece; -1: all */
    double from_seconds, to_seconds; /* from the beginning of the MIDI file; -1: all of it */
} msim_span;

/* Get the span of a row. Spans are part of the description beside a corpus file. The library reads
 * them at the first call of one of these functions, which fails when they cannot be used. Without
 * spans every row is a whole piece. */
MSIM_API int msim_corpus_span(const msim_corpus *corpus, int64_t row, msim_span *out,
                              msim_error *err);
/* The same stretch in bars, counted by the time signatures of its MIDI file as player and notation
 * programs count them. The first bar has number 1. A bar begins at each time signature and then
 * after each full bar; until the first signature the time is 4/4, as the standard says. Beats count
 * from 1 too: beat 2.5 of 6/8 is one and a half eighths after the start of the bar. This struct
 * never grows, because callers have arrays of it. */
typedef struct {
    int64_t from_bar, to_bar;  /* where it begins and ends; both 0: not known */
    double from_beat, to_beat; /* 1 <= beat < beats of the bar + 1, in steps of 1/240; or 0 */
} msim_bar_span;
enum { MSIM_BEAT_PARTS = 240 };
#define MSIM_MOST_BARS 0xffffffff /* a file with more has no bars */

/* Get the bars of a row's span. They are not known for rows that are whole pieces, for files whose
 * division is in SMPTE frames, for files of 2^48 ticks or more, and for rows that were written
 * before descriptions had bars. The library reads them at the first call, like spans. */
MSIM_API int msim_corpus_bars(const msim_corpus *corpus, int64_t row, msim_bar_span *out,
                              msim_error *err);
/* 1 when bars are known for a file of the corpus, else 0. */
MSIM_API int msim_corpus_has_bars(const msim_corpus *corpus, msim_error *err);
/* 1 when a file of the corpus has spans, else 0. */
MSIM_API int msim_corpus_has_spans(const msim_corpus *corpus, msim_error *err);
/* The number of pieces; the piece of a row; and the first row of a piece. For piece == pieces the
 * last function gives the number of all rows. */
MSIM_API int64_t msim_corpus_pieces(const msim_corpus *corpus, msim_error *err);
MSIM_API int64_t msim_corpus_piece_of(const msim_corpus *corpus, int64_t row, msim_error *err);
MSIM_API int64_t msim_corpus_piece_first(const msim_corpus *corpus, int64_t piece, msim_error *err);

/* Read rows first .. first + n - 1 into out [n, dim], each as msim_corpus_vector reads it. */
MSIM_API int msim_corpus_vectors(const msim_corpus *corpus, int64_t first, int64_t n, float *out,
                                 msim_error *err);
/* Write the names of rows first .. first + n - 1 end to end into buf [cap]. The name of row first +
 * i is buf[starts[i]] .. buf[starts[i + 1] - 1]; starts has n + 1 entries. Returns the bytes of all
 * these names, or a negative status when rows are out of range. buf must have at least one byte
 * more than that. If buf is smaller, its content means nothing but starts is still right; call
 * again with a larger buffer. NULL with cap 0 only asks. */
MSIM_API int64_t msim_corpus_names(const msim_corpus *corpus, int64_t first, int64_t n, char *buf,
                                   size_t cap, int64_t *starts);
/* Make a corpus of rows [n_rows, dim] in memory. names and name_starts [n_rows + 1] hold the names
 * as msim_corpus_names writes them; with NULL names, rows are named by their number. The three
 * arrays are borrowed: they must outlive the corpus and must not change. The corpus has one part.
 * Its format and the path of its part are "memory". */
MSIM_API int msim_corpus_open_rows(const float *rows, int64_t n_rows, int64_t dim,
                                   const char *names, const int64_t *name_starts, msim_corpus **out,
                                   msim_error *err);

/* Find the rows whose name is exactly `name`, in ascending order. The first of them go into rows
 * [cap]; rows may be NULL when cap is 0. Returns how many there are in all. Each call reads every
 * name of the corpus. To look up many names, use an msim_name_set. */
MSIM_API int64_t msim_corpus_find(const msim_corpus *corpus, const char *name, int64_t *rows,
                                  size_t cap, msim_error *err);
/* Suggest up to three names of rows that differ from `name` only in letter case, folders or
 * extension. They are written into text [cap] as text for a message, "'a.mid', 'b/a.mid'",
 * NUL-terminated. Names that do not fit are left out. Returns how many names the text has. */
MSIM_API int64_t msim_corpus_suggest(const msim_corpus *corpus, const char *name, char *text,
                                     size_t cap, msim_error *err);

/* A set of names, numbered from 0 in the order in which they were added. One pass over a corpus
 * finds the rows of all of them. Memory grows with the names added and the rows found, not with the
 * corpus. A name may hold any bytes. One thread at a time may use a set. */
typedef struct msim_name_set msim_name_set;

MSIM_API int msim_name_set_open(msim_name_set **out, msim_error *err);
MSIM_API void msim_name_set_close(msim_name_set *set);
MSIM_API int64_t msim_name_set_count(const msim_name_set *set);
/* Returns the number of a name. The name is added if the set does not have it. */
MSIM_API int64_t msim_name_set_add(msim_name_set *set, const char *name, size_t name_bytes,
                                   msim_error *err);
/* Returns the number of a name, or -MSIM_E_EMPTY when the set does not have it. */
MSIM_API int64_t msim_name_set_find(const msim_name_set *set, const char *name, size_t name_bytes);
/* A name by its number: not NUL-terminated, borrowed until the next add. NULL when the number is
 * out of range. */
MSIM_API const char *msim_name_set_name(const msim_name_set *set, int64_t number,
                                        size_t *name_bytes);
/* Find the rows of all names that were added so far. The results of an earlier scan are forgotten.
 * `progress` may be NULL. The library calls it now and then on this thread, with the rows done and
 * the rows in all. When it returns non-zero, the scan stops with -MSIM_E_STOPPED. */
MSIM_API int msim_name_set_scan(msim_name_set *set, const msim_corpus *corpus,
                                int (*progress)(void *user, int64_t done, int64_t all), void *user,
                                msim_error *err);
/* The rows that the last scan found for a name, in ascending order, borrowed until the next scan.
 * Returns how many there are: 0 for a name that was added later, or for a number out of range. */
MSIM_API int64_t msim_name_set_rows(const msim_name_set *set, int64_t number, const int64_t **rows);

/* All rows of a corpus, one by one, in bytewise order of name. Rows of the same name stay in the
 * order of their parts and rows. This makes one corpus out of shards. A part whose names are in
 * order is merged while it is read. For any other part, its names and 16 bytes per row are kept in
 * memory. One thread at a time may use a merge. The corpus must stay open. */
typedef struct msim_corpus_merge msim_corpus_merge;

/* Reads every name once. `progress` works as for msim_name_set_scan. */
MSIM_API int msim_corpus_merge_open(const msim_corpus *corpus,
                                    int (*progress)(void *user, int64_t done, int64_t all),
                                    void *user, msim_corpus_merge **out, msim_error *err);
MSIM_API void msim_corpus_merge_close(msim_corpus_merge *merge);
/* Give the next row and its name, which is NUL-terminated and borrowed until the next call. Returns
 * 1. After the last row it returns 0 and leaves row and name as they were. */
MSIM_API int msim_corpus_merge_next(msim_corpus_merge *merge, int64_t *row, const char **name,
                                    size_t *name_bytes, msim_error *err);
/* Code points of the longest name, for msim_corpus_layout. */
MSIM_API int64_t msim_corpus_merge_name_chars(const msim_corpus_merge *merge);
/* How many rows so far had the same name as the row before them, but were of another piece. */
MSIM_API int64_t msim_corpus_merge_repeats(const msim_corpus_merge *merge);

/* ---- Whitening: what makes vectors rank better ----------------------------------------------- */

/* A few directions that all pieces share dominate the cosine of two vectors. A whitening is a
 * linear map that takes them away. It is fitted on the rows of a corpus, without labels:
 * C + w N + shrink * ebar * I = L L^T for the covariance C of the rows at length 1, and the mean
 * diagonal ebar of C + w N. A row at length 1 becomes L^-1 (row - mean), at length 1 again.
 * Whitened rows are an ordinary corpus, whose description holds the map. A searcher sees it there
 * and whitens its queries. docs/WHITENING.md.
 *
 * N, the nuisance, is what altered copies of pieces differ in from them: how a performer plays, for
 * one. It is known when altered copies were given to the fit, or to the prior that is added to it.
 * Without it, N is 0 (within-class covariance: Hatch, Kajarekar, Stolcke 2006).
 *
 * A whitening never changes after open, and threads may share it. */
typedef struct msim_whitening msim_whitening;

#define MSIM_WHITENING_SHRINK 0.005      /* the default of shrink: docs/WHITENING.md, Measured */
#define MSIM_WHITENING_MOST_SHRINK 1e6   /* the largest shrink */
#define MSIM_WHITENING_NUISANCE 100.0    /* the default of w: docs/WHITENING.md, Measured */
#define MSIM_WHITENING_MOST_NUISANCE 1e6 /* the largest w */
enum {
    /* Of fewer rows of the corpus, all are used. */
    MSIM_WHITENING_LEAST_SAMPLE = 100000,
    /* The rows that another fit counts as, at most: the default of prior_rows: docs/WHITENING.md,
     * Measured. */
    MSIM_WHITENING_PRIOR_ROWS = 2000,
    MSIM_WHITENING_QUANTILES = 10
};

/* Start from msim_whitening_options_default(). */
typedef struct {
    size_t size;                 /* sizeof(msim_whitening_options), set by the caller (R6) */
    double shrink;               /* more than 0 */
    int64_t max_rows;            /* fit on so many rows, drawn with a fixed seed; at least
                       * MSIM_WHITENING_LEAST_SAMPLE; 0 (default): all rows */
    const msim_whitening *prior; /* another fit that is added to the rows' statistics; borrowed
                                  * during the call; NULL: none */
    int64_t prior_rows;          /* how many rows `prior` counts as, at most */
    const char *model_sha256;    /* of the model that made the rows, kept with the fit; NULL: not
                                  * known */
    int threads;                 /* 0: one per processor */
    int isa;                     /* msim_isa; every level gives the same bits */
    int (*progress)(void *user, int64_t done, int64_t all); /* rows; called now and then on this
                                                             * thread; non-zero stops with
                                                             * -MSIM_E_STOPPED; NULL: never */
    void *user;                                             /* passed to progress */
    const msim_corpus *altered; /* altered copies of pieces of the corpus: its rows bear the names
                                 * of the rows that they are copies of, one or more for each; rows
                                 * with other names are left out. Borrowed during the call; NULL:
                                 * none */
    double nuisance_weight;     /* w: 0 to MSIM_WHITENING_MOST_NUISANCE */
} msim_whitening_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_whitening_options_init(msim_whitening_options *options);
static inline msim_whitening_options msim_whitening_options_default(void) {
    msim_whitening_options options;
    options.size = sizeof options;
    msim_whitening_options_init(&options);
    return options;
}

typedef struct {
    size_t size; /* sizeof(msim_whitening_info), set by the caller (R6) */
    int64_t dim;
    int64_t rows, distinct; /* rows of the corpus that were used; those of them with content of
                               * their own, each of which counts once */
    int64_t prior_rows;     /* rows that another fit counts as in it; 0: none */
    double shrink;          /* 0: not known */
    int has_statistics;     /* 1: it can be saved, and be the prior of another */
    char hash[65];          /* SHA-256 of the map: maps with the same hash are the same */
    char model_sha256[65];  /* of the model that made the rows; "": not known */
    int64_t pairs, pieces;  /* of unrelated rows that the chances come from, and of how many
                               * pieces; 0: no chances are known */
    int n_quantiles;        /* how many of the quantiles are known */
    double quantiles[MSIM_WHITENING_QUANTILES]; /* z that shares 0.5, 0.2, 0.1, 0.05, 0.02,
                                                 * 0.01, ... of unrelated pairs reach */
    int64_t altered;        /* altered copies that the nuisance comes from; 0: there is none */
    double nuisance_weight; /* w of the map; 0 without a nuisance */
} msim_whitening_info;

/* Fit a whitening on the rows of a corpus. Rows of zeros and rows with NaN or infinity are left
 * out. Memory: a few matrices of dim x dim doubles, and 16 bytes per row. The result has the same
 * bits for any threads and level. -MSIM_E_EMPTY when there are fewer distinct rows than 4 * dim,
 * those of the prior included, or when `altered` has no row with the name of a row. -MSIM_E_ARG for
 * a prior of another width, or for rows that are all alike. -MSIM_E_LIMIT for rows of more than
 * 4,096 components. */
MSIM_API int msim_whitening_fit(const msim_corpus *corpus, const msim_whitening_options *options,
                                msim_whitening **out, msim_error *err);
/* Open a file that msim_whitening_save wrote (.whiten), and write one. A file that is damaged or
 * something else is -MSIM_E_FORMAT. Without has_statistics, save is -MSIM_E_ARG. */
MSIM_API int msim_whitening_open(const char *path, msim_whitening **out, msim_error *err);
MSIM_API int msim_whitening_save(const msim_whitening *w, const char *path, msim_error *err);
MSIM_API void msim_whitening_close(msim_whitening *w);
MSIM_API int msim_whitening_get_info(const msim_whitening *w, msim_whitening_info *out);
/* The map: mean [dim] and the lower triangle of L^-1, row by row [dim * (dim + 1) / 2]. */
MSIM_API void msim_whitening_map(const msim_whitening *w, float *mean, float *factor);
/* Whiten n rows [n, dim] into out [n, dim]; out may be rows. A row of zeros stays one; a row with
 * NaN or infinity becomes NaN. threads 0 means one per processor. The same row gives the same bits,
 * whatever else is whitened with it. */
MSIM_API int msim_whitening_apply(const msim_whitening *w, const float *rows, size_t n, float *out,
                                  int threads, msim_error *err);
/* The chance that the rows of two unrelated pieces have a z of `z` or more (msim_answer): 0..1; -1
 * when no chances are known. A score alone has no such chance. */
MSIM_API double msim_whitening_p(const msim_whitening *w, double z);
/* Find the fit that comes with the model, default.whiten, in the folders of msim_default_model, or
 * beside the file that MIDISIM_MODEL names. Its path goes into path [cap]. -MSIM_E_EMPTY when there
 * is none. */
MSIM_API int msim_default_whitening(char *path, size_t cap, msim_error *err);

/* Start from {.size = sizeof options}. */
typedef struct {
    size_t size;           /* sizeof(msim_whitened_options), set by the caller (R6) */
    const char *key;       /* kept in the description: a text of the caller, at most 64
                              * characters; NULL: none */
    int refuses_nonfinite; /* 1: a row with NaN or infinity is -MSIM_E_FORMAT; 0: it becomes NaN */
    int ignores_description; /* 1: go on when the description of the rows cannot be used */
    int threads;             /* 0: one per processor */
    int (*progress)(void *user, int64_t done, int64_t all); /* as for msim_whitening_options */
    void *user;
} msim_whitened_options;

/* Write the whitened rows of one part as a corpus of its own: structured, f32, with the same names,
 * spans and settings, and the map in its description. What stood under that name is replaced, and
 * codes beside it are removed. `options` may be NULL. -MSIM_E_ARG when the rows are whitened
 * already. */
MSIM_API int msim_corpus_write_whitened(const msim_corpus *corpus, int64_t part,
                                        const msim_whitening *w, const char *path,
                                        const msim_whitened_options *options, msim_error *err);
/* The whitening of a corpus whose rows are whitened, from the descriptions beside its files. *out
 * is borrowed from the corpus; NULL: the rows are as the model gave them. Descriptions are read at
 * the first call. -MSIM_E_FORMAT when one is damaged or of other rows; -MSIM_E_ARG when the files
 * of the corpus have different maps. */
MSIM_API int msim_corpus_whitening(const msim_corpus *corpus, const msim_whitening **out,
                                   msim_error *err);

/* ---- Searcher: a piece in its keys ----------------------------------------------------------- */

/* A searcher finds the rows of a corpus that are most similar to a query. A MIDI file is searched
 * in several keys at once; each key is a vector of its own. For each row, the best key counts. Add
 * queries first, then call msim_searcher_run: it answers many queries in one pass over the corpus.
 *
 *   msim_searcher_options so = msim_searcher_options_default();
 *   msim_searcher *s;  msim_match found[16];
 *   msim_searcher_open(model, corpus, NULL, &so, &s, &e);
 *   int64_t n = msim_searcher_file(s, "song.mid", found, 16, &e);
 *
 * One thread at a time may use a searcher. Model and corpus must stay open longer than it. */
typedef struct msim_searcher msim_searcher;

/* A row that was found. In a corpus with spans it is the best row of a piece. This struct never
 * grows, because callers have arrays of it. */
typedef struct {
    int64_t row;
    double score;                    /* as msim_context_search computes it; -infinity for a row
                                      * with NaN or infinity */
    int transpose;                   /* semitones by which the query was moved for this score */
    double from_seconds, to_seconds; /* the stretch of the row's piece that matches, as in
                                      * msim_span; -1: all of it */
    int64_t from_token, to_token;    /* the same stretch in tokens */
} msim_match;

/* Which matches of a query are kept. In a corpus with spans, read piece for row: the searcher finds
 * k pieces, each by its best row. */
enum msim_keep {
    MSIM_KEEP_BEST = 0, /* the best key of each row (equal scores: the lowest key); k rows in all */
    MSIM_KEEP_ALL = 1,  /* every key of a row is a match of its own; k matches in all */
    MSIM_KEEP_EACH = 2  /* as ALL, but k matches in each key */
};

/* What one pass over the rows did; see msim_stats. */
typedef struct {
    size_t size; /* set by the library (R6) */
    int64_t rows_nonfinite, rows_evaluated;
    int scan;   /* msim_scan in use */
    int device; /* msim_device that searched, never AUTO */
} msim_pass_stats;

/* For rows that are spread over several processes: functions of the caller that pass over them.
 * They do what msim_context_search_with and msim_context_search_above do, for all rows of the
 * corpus. They fill in the fields of stats that its size leaves room for. */
typedef struct {
    size_t size; /* sizeof(msim_passes), set by the caller (R6) */
    int64_t (*top)(void *user, const msim_search_options *options, const float *vectors,
                   size_t n_vectors, int64_t k, int64_t *rows, double *scores,
                   msim_pass_stats *stats, msim_error *err);
    int64_t (*above)(void *user, const msim_search_options *options, const float *vectors,
                     size_t n_vectors, double threshold, msim_hit_sink sink, void *sink_user,
                     msim_pass_stats *stats, msim_error *err);
    void *user; /* passed to both functions */
} msim_passes;

/* Start from msim_searcher_options_default(). */
typedef struct {
    size_t size;       /* sizeof(msim_searcher_options), set by the caller (R6) */
    int64_t k;         /* matches per query (default 16) */
    int has_threshold; /* 1: instead of k matches, every row with a score >= threshold */
    double threshold;
    int metric, scan;           /* as in msim_search_options */
    int keep;                   /* msim_keep (default BEST) */
    int transpose;              /* keys of a MIDI query: -transpose .. transpose - 1 semitones
                                 * (default 6); 0: only the piece as it is */
    int64_t max_tokens;         /* use only this many first tokens of a MIDI file (default
                                 * MSIM_TRAINED_TOKENS); 0: all, which is a job's default with
                                 * windows */
    const float *class_weights; /* as for msim_context_embed, borrowed until close; NULL: the plain
                                 * mean */
    const int64_t *excluded;    /* rows that no query finds, in any order; copied */
    size_t n_excluded;
    int excludes_self; /* 1: a query that is a row does not find its piece; each pass then fetches a
                          * few rows more, so that msim_searcher_exclude costs little */
    int64_t max_vectors;            /* vectors per pass (default 60: five pieces in twelve keys) */
    int (*should_stop)(void *user); /* called now and then by msim_searcher_run, also during a
                                     * pass, and while a MIDI file is embedded, on any thread;
                                     * non-zero ends the call with -MSIM_E_STOPPED; NULL: never */
    void *stop_user;                /* passed to should_stop */
    const msim_passes *passes;      /* borrowed until close; NULL: this process has all rows */
    /* Windows: a MIDI query is cut as msim_job_options describes it, and every window of it is
     * searched in every key. The score of a piece is that of its best pair of a row and a window.
     * Such a query may have more vectors than max_vectors; then it gets several passes. With
     * is_pooled, each key of the query is the mean of its windows, as in a job. */
    int64_t window_tokens, window_step;
    int is_pooled;
    /* 1..11: msim_searcher_run tries the first 512 tokens of a longer MIDI query in every key. All
     * of the query is then embedded in so many keys alone: those whose best row was best. The
     * answer is exact for these keys (docs/SEARCH.md, Likely keys). 0 (default): all keys. Not with
     * windows, and not with MSIM_KEEP_EACH. */
    int likely_keys;
    int n_class_weights; /* as for a job */
} msim_searcher_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_searcher_options_init(msim_searcher_options *options);
static inline msim_searcher_options msim_searcher_options_default(void) {
    msim_searcher_options options;
    options.size = sizeof options;
    msim_searcher_options_init(&options);
    return options;
}

/* Open a searcher. Unless searcher_options->passes is set, the corpus is loaded for it. `model` may
 * be NULL; then queries can only be rows and vectors. `options` (NULL: the defaults) choose the
 * device and the threads; their max_* fields do not matter. -MSIM_E_UNSUPPORTED when the model's
 * vocabulary is not the tokeniser's. */
MSIM_API int msim_searcher_open(const msim_model *model, const msim_corpus *corpus,
                                const msim_options *options,
                                const msim_searcher_options *searcher_options, msim_searcher **out,
                                msim_error *err);
MSIM_API void msim_searcher_close(msim_searcher *s);

/* Add a query: a MIDI file (also with gzip), the bytes of one, a row of the corpus, or a vector
 * [dim]. Each function returns the query's number. Numbers start at 0, and again after
 * msim_searcher_run. A failure leaves the queries before it as they were. -MSIM_E_FORMAT and
 * -MSIM_E_EMPTY come from the tokeniser. -MSIM_E_ARG means a row out of range, or a vector with NaN
 * or infinity. -MSIM_E_STOPPED: should_stop asked to stop while a MIDI file was embedded. */
MSIM_API int64_t msim_searcher_add_file(msim_searcher *s, const char *path, msim_error *err);
MSIM_API int64_t msim_searcher_add_midi(msim_searcher *s, const void *midi, size_t n_bytes,
                                        msim_error *err);
MSIM_API int64_t msim_searcher_add_row(msim_searcher *s, int64_t row, msim_error *err);
MSIM_API int64_t msim_searcher_add_vector(msim_searcher *s, const float *vector, msim_error *err);
/* Add a vector that is as the rows of the corpus are: one of them, or a row of another corpus with
 * the same whitening. In a whitened corpus, msim_searcher_add_row takes the row as it is too. The
 * other functions take vectors as the model gives them, and whiten them. */
MSIM_API int64_t msim_searcher_add_stored(msim_searcher *s, const float *vector, msim_error *err);
/* Leave more rows out of one query's matches. rows [n] are in any order and are copied. */
MSIM_API int msim_searcher_exclude(msim_searcher *s, int64_t query, const int64_t *rows, size_t n,
                                   msim_error *err);
/* How many vectors wait for msim_searcher_run; a MIDI query has one vector per key. */
MSIM_API int64_t msim_searcher_waiting(const msim_searcher *s);
/* msim_outcome of the last MIDI query that was added or refused. */
MSIM_API int msim_searcher_outcome(const msim_searcher *s);

/* The answer to one query. */
typedef struct {
    size_t size;               /* set by the library (R6) */
    int64_t query;             /* the query's number */
    int64_t variants;          /* keys in which it was searched */
    const msim_match *matches; /* [n_matches], best first: the higher score, then the lower row,
                                * then the lower transposition */
    int64_t n_matches;
    const msim_pass_stats *pass; /* the pass that answered the query */
    /* Where in the query each match is, [n_matches]; `piece` is the number of the window. NULL: the
     * query was not cut into windows. */
    const msim_span *query_spans;
    int64_t n_vectors; /* of the query: one for each key, and with windows for each window in each
                        * key */
    const msim_bar_span *query_bars; /* [n_matches]: query_spans in bars; NULL as they are. Of a
                                      * match msim_corpus_bars says them. */
    /* How far each match stands out, [n_matches]: z of docs/WHITENING.md. NULL: the corpus is not
     * whitened, or no chances are known. */
    const double *z;
} msim_answer;

/* Receives one answer, which is borrowed until this function returns. Return 0 to go on; any other
 * value ends the run. */
typedef int (*msim_answer_sink)(void *user, const msim_answer *answer);
/* Answer all queries that were added, in order. Afterwards no query waits, even after an error.
 * Returns how many were answered. -MSIM_E_STOPPED when sink or should_stop ended the run. Answers
 * that sink received before an error remain valid. sink must not use the searcher. */
MSIM_API int64_t msim_searcher_run(msim_searcher *s, msim_answer_sink sink, void *user,
                                   msim_error *err);
/* Add and answer one MIDI file. The best matches go into matches [cap]. Returns how many matches
 * there are; only the first cap are written. No other query may wait. */
MSIM_API int64_t msim_searcher_file(msim_searcher *s, const char *path, msim_match *matches,
                                    size_t cap, msim_error *err);

/* What the score of a match means, in a whitened corpus (docs/WHITENING.md). */
enum msim_likeness {
    MSIM_LIKENESS_UNKNOWN = 0, /* the corpus is not whitened, or no chances are known */
    MSIM_LIKENESS_UNRELATED,   /* chance alone gives such a score */
    MSIM_LIKENESS_ALIKE,       /* chance seldom does */
    MSIM_LIKENESS_VERSION,     /* chance hardly does: another version of the piece */
    MSIM_LIKENESS_SAME         /* the same piece, or nearly */
};
/* "unknown", "unrelated", "alike", "version", "same"; NULL for an unknown value. */
MSIM_API const char *msim_likeness_name(int likeness);

typedef struct {
    size_t size;    /* sizeof(msim_meaning), set by the caller (R6) */
    double p;       /* the chance that the best row of an unrelated piece scores as high, in the
                     * best of the query's vectors; -1: not known */
    double matches; /* how many of the corpus's pieces would score as high if all were unrelated to
                     * the query: pieces times p; -1: not known */
    int likeness;   /* msim_likeness */
} msim_meaning;

/* Whether the searcher can say what scores mean: 1, or 0 when its corpus is not whitened, has fewer
 * than 100 pieces, or no chances are known. */
MSIM_API int msim_searcher_has_meaning(const msim_searcher *s);
/* Say what the score of a match means: answer->matches[match] of an answer that this searcher just
 * gave. It depends on the query too: some pieces have high scores with many others. -MSIM_E_ARG
 * when the answer has no such match. */
MSIM_API int msim_searcher_explain(const msim_searcher *s, const msim_answer *answer, int64_t match,
                                   msim_meaning *out);

/* What a searcher did so far. */
typedef struct {
    size_t size;           /* sizeof(msim_searcher_stats), set by the caller (R6) */
    int64_t answered;      /* queries answered */
    int64_t matches;       /* matches of all these queries */
    int64_t cut;           /* MIDI queries longer than max_tokens */
    double embed_seconds;  /* wall time inside embedding */
    double search_seconds; /* wall time inside passes */
} msim_searcher_stats;

MSIM_API int msim_searcher_get_stats(const msim_searcher *s, msim_searcher_stats *out);

/* ---- Evaluation: how well rankings find what belongs together -------------------------------- */

/* An evaluation collects the answers to queries whose relatives are known, and measures them. A
 * candidate is a piece that a query might find; a relative is a candidate that belongs to the
 * query. docs/QUALITY.md defines the measures. Sums are in double, in the order of the queries. One
 * thread at a time may use an evaluation. */
typedef struct msim_eval msim_eval;

MSIM_API int msim_eval_open(msim_eval **out, msim_error *err);
MSIM_API void msim_eval_close(msim_eval *eval);
/* Add the answer to one query: the scores [n] of all candidates in rank order, best first, and for
 * each 1 if it is a relative, else 0. A candidate without a score has -infinity. Scores that are
 * NaN or rise are refused, and so is an answer without a relative. */
MSIM_API int msim_eval_add(msim_eval *eval, const double *scores, const unsigned char *is_relative,
                           int64_t n, msim_error *err);

/* How the 95 % interval of a measure is found: it is computed again for `resamples` random choices
 * of as many queries, with repetition (a bootstrap; Efron 1979). The interval leaves out 2.5 % of
 * these results at either end. The same seed gives the same choices. resamples 0: no intervals. */
typedef struct {
    size_t size;       /* sizeof(msim_eval_options), set by the caller (R6) */
    int64_t resamples; /* 0..1,000,000; default 1,000 */
    uint64_t seed;     /* default 1 */
} msim_eval_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_eval_options_init(msim_eval_options *options);
static inline msim_eval_options msim_eval_options_default(void) {
    msim_eval_options options;
    options.size = sizeof options;
    msim_eval_options_init(&options);
    return options;
}

/* A measure and its interval; without resamples all three are equal. This struct never grows. */
typedef struct {
    double value, low, high;
} msim_measure;

/* Pairs of a query and a candidate at a threshold: a pair is found when it scores at least that.
 * f1 is the harmonic mean of precision and recall. This struct never grows. */
typedef struct {
    double threshold;
    msim_measure precision, recall, f1;
} msim_eval_point;

typedef struct {
    size_t size;              /* sizeof(msim_eval_report), set by the caller (R6) */
    int64_t queries;          /* that were added */
    int64_t pairs, relatives; /* of a query and a candidate; those that are relatives */
    msim_measure mrr;         /* mean of 1 / rank of the best relative */
    msim_measure map;         /* mean over queries of average precision, over all relatives */
    msim_measure median_rank; /* median of the rank of the best relative, from 1 */
    msim_eval_point best;     /* where f1 is highest (equal: the higher threshold); its interval
                                * is that of this threshold */
} msim_eval_report;

/* -MSIM_E_EMPTY when no query was added, as for the next functions. */
MSIM_API int msim_eval_get_report(const msim_eval *eval, const msim_eval_options *options,
                                  msim_eval_report *out, msim_error *err);
/* Recall at rank k: the share of queries with at least one relative among their first k
 * candidates. */
MSIM_API int msim_eval_recall(const msim_eval *eval, const msim_eval_options *options, int64_t k,
                              msim_measure *out, msim_error *err);
/* Thresholds are -1 + i / 10,000 for i in 0..20,000: `threshold` is moved up to the next of them.
 * For scores that are no cosines only ranks are measured. */
MSIM_API int msim_eval_at(const msim_eval *eval, const msim_eval_options *options, double threshold,
                          msim_eval_point *out, msim_error *err);
/* The highest threshold at which at least `recall` (0..1) of the relatives are found. */
MSIM_API int msim_eval_threshold(const msim_eval *eval, double recall, double *out,
                                 msim_error *err);

/* ==== 3. Building blocks ===================================================================== */

/* The steps of jobs and searchers, for programs that combine them in other ways. */

/* ---- Tokeniser: MIDI bytes to token ids ------------------------------------------------------ */

typedef struct msim_tokenizer msim_tokenizer;

/* What the tokeniser found in a file. */
enum msim_outcome {
    MSIM_OUTCOME_TOKENS = 0, /* it has notes */
    MSIM_OUTCOME_NOT_MIDI,   /* no readable header, or no track at all */
    MSIM_OUTCOME_BAD_MIDI,   /* damaged where the original gives up; the error says at which byte */
    MSIM_OUTCOME_NO_NOTES,   /* well-formed, but without a note */
    MSIM_OUTCOME_DRUMS_ONLY, /* all notes are on the drum channel */
    MSIM_OUTCOME_NO_CLEAN_NOTES /* it has notes, but none of an instrument that cleaning keeps */
};

/* The families of models, each with its own tokens. midisimx is the successor of midisim. Its
 * chords are tokens. docs/MODEL.md has both side by side. */
enum msim_family { MSIM_FAMILY_MIDISIM = 0, MSIM_FAMILY_MIDISIMX = 1 };
/* What comes first of a chord of midisimx: its start time, as the published models were trained, or
 * the chord's token, as the original writes it since its release 26.10.23. */
enum msim_token_order { MSIM_ORDER_TIME_FIRST = 0, MSIM_ORDER_CHORD_FIRST = 1 };
/* The names of their values: "midisim", "midisimx"; "time-first", "chord-first". NULL for an
 * unknown value. */
MSIM_API const char *msim_family_name(int family);
MSIM_API const char *msim_token_order_name(int order);

/* How MIDI files become tokens. Start from msim_tokenizer_options_default(). */
typedef struct {
    size_t size;      /* sizeof(msim_tokenizer_options), set by the caller (R6) */
    int family;       /* msim_family */
    int token_order;  /* msim_token_order; midisim has one order alone, which is 0 */
    int is_unclean;   /* midisimx: 0 (default): only notes of 77 of the 128 instruments, as the
                      * published models were trained; 1: of all but drums. Of midisim 0. */
    int center_pitch; /* midisimx: move every piece to this mean pitch, 1..127; 0 (default): none.
                       * Of midisim 0. */
} msim_tokenizer_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_tokenizer_options_init(msim_tokenizer_options *options);
static inline msim_tokenizer_options msim_tokenizer_options_default(void) {
    msim_tokenizer_options options;
    options.size = sizeof options;
    msim_tokenizer_options_init(&options);
    return options;
}

/* Open a tokeniser for the family of a model; NULL means midisim's family. The model need not stay
 * open. -MSIM_E_UNSUPPORTED when the vocabulary of the model is unknown; such a model takes token
 * ids alone. */
MSIM_API int msim_tokenizer_open(const msim_model *model, msim_tokenizer **out, msim_error *err);
/* Open a tokeniser without a model; NULL means the defaults. */
MSIM_API int msim_tokenizer_open_family(const msim_tokenizer_options *options, msim_tokenizer **out,
                                        msim_error *err);
MSIM_API void msim_tokenizer_close(msim_tokenizer *tok);

/* How many sequences a transpose factor asks for: 1 if it is <= 0, else 2 x min(factor, 6). */
MSIM_API int msim_tokenizer_variants(int transpose_factor);
/* The most ids that encode can write for a file of n_bytes, all variants together, in either
 * family. */
MSIM_API size_t msim_tokenizer_bound(size_t n_bytes, int transpose_factor, int64_t max_seq_len);

/* Encode one MIDI file, given as uncompressed bytes. transpose_factor and max_seq_len work as in
 * the original. A factor tf > 0 makes the variants -tf..tf-1; any other factor makes the piece as
 * it is. Each sequence keeps its first max_seq_len ids; a negative value -k drops the last k ids.
 * Variants of midisimx may differ in length: each thins the chords anew.
 *
 * The sequences go into ids [ids_cap], end to end. starts [variants + 1] gets the start of each
 * sequence and the end of the last one. Returns the number of sequences (>= 1).
 *
 * Errors: -MSIM_E_FORMAT (not MIDI, or damaged) and -MSIM_E_EMPTY (no notes, or only drums), which
 * msim_tokenizer_outcome tells apart; -MSIM_E_LIMIT when ids_cap is too small; -MSIM_E_MEMORY. */
MSIM_API int64_t msim_tokenizer_encode(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                                       int transpose_factor, int64_t max_seq_len, int32_t *ids,
                                       size_t ids_cap, int64_t *starts, msim_error *err);
/* Encode one variant: every pitch is moved by `semitones` and clamped to 1..127. Returns the number
 * of ids. Everything else is as for msim_tokenizer_encode. */
MSIM_API int64_t msim_tokenizer_encode_at(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                                          int semitones, int64_t max_seq_len, int32_t *ids,
                                          size_t ids_cap, msim_error *err);
/* msim_outcome of the last call. It means nothing after -MSIM_E_MEMORY and -MSIM_E_LIMIT. */
MSIM_API int msim_tokenizer_outcome(const msim_tokenizer *tok);
/* How many ids the last successful encode would have given without max_seq_len: of encode, for the
 * piece as it is, whatever the variants are. */
MSIM_API int64_t msim_tokenizer_full_length(const msim_tokenizer *tok);
/* How many notes the last successful encode turned into ids, those of ids that max_seq_len cut off
 * included; and the second at which the last of them ends, as in a span. Of encode, this is of the
 * piece as it is. */
MSIM_API int64_t msim_tokenizer_notes(const msim_tokenizer *tok, double *seconds);

/* Cut the piece that the last successful encode read into windows, as msim_job_options describes
 * them. window_step is 1 .. window_tokens. max_seq_len cuts the piece first. spans [cap] gets the
 * first windows, with piece -1. Returns how many windows there are. -MSIM_E_ARG before any encode.
 *
 * The ids of a window are those of its span. If from_token is not 0, the first id of the piece
 * comes before them, because it begins a sequence. So the first note of a window has no start time,
 * like the first note of a piece.
 *
 * Seconds come from the starts of the notes, in steps of 32 ms from the first note on. A window
 * ends where the next note begins. The last window ends where its last note ends.
 *
 * In midisimx a window is cut between chords: what is said of a note here is then a chord's. Its
 * pieces are cut in the order time-first alone (-MSIM_E_UNSUPPORTED). */
MSIM_API int64_t msim_tokenizer_windows(const msim_tokenizer *tok, int64_t window_tokens,
                                        int64_t window_step, int64_t max_seq_len, msim_span *spans,
                                        size_t cap, msim_error *err);

/* Where the spans of msim_tokenizer_windows lie in the variant that is moved by `semitones`, cut to
 * max_seq_len: the same stretches of time. In midisimx variants differ in length; in midisim the
 * spans are the same. out [n] may be `spans`. */
MSIM_API int msim_tokenizer_spans_at(const msim_tokenizer *tok, int semitones, int64_t max_seq_len,
                                     const msim_span *spans, int64_t n, msim_span *out,
                                     msim_error *err);

/* Note where bars are in the files that are encoded from now on (is_kept 1), or no longer (0, the
 * default). It takes some memory and time. */
MSIM_API void msim_tokenizer_keep_bars(msim_tokenizer *tok, int is_kept);
/* The bars of a span of the piece that the last successful encode read, from its seconds. The
 * places of notes are exact: each is that of the note's tick. The end of the last window is too,
 * unless a pedal moves it; then it is found by its time. -MSIM_E_ARG when bars were not kept. */
MSIM_API int msim_tokenizer_bars(const msim_tokenizer *tok, const msim_span *span,
                                 msim_bar_span *out, msim_error *err);

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
    MSIM_KIND_TEXT,
    MSIM_KIND_MUS /* the music of Doom, which the tokeniser does not read */
};
MSIM_API int msim_file_kind(const void *bytes, size_t n_bytes);
/* Words for a message: "a zip archive"; NULL for an unknown value. */
MSIM_API const char *msim_file_kind_name(int kind);
/* Where in a file's bytes the MIDI file is, and its length: 0 and all of them, or the place inside
 * an RMID file. Every function that takes MIDI bytes calls this one itself. */
MSIM_API size_t msim_midi_find(const void *bytes, size_t n_bytes, size_t *n_midi);

/* Read a MIDI file into out [cap] and undo gzip and RMID. The file must be a regular file of at
 * most 256 MiB, also after decompression. out gets as many bytes as fit. Returns how many bytes
 * there are; if that is more than cap, call again with a larger buffer. Errors: -MSIM_E_IO (cannot
 * be read, or changed while it was read), -MSIM_E_FORMAT (damaged gzip), -MSIM_E_LIMIT (too large),
 * -MSIM_E_MEMORY. */
MSIM_API int64_t msim_midi_read(const char *path, unsigned char *out, size_t cap, msim_error *err);

/* An upper bound of the bytes that msim_midi_canonical writes for a file of n_bytes. */
MSIM_API size_t msim_midi_canonical_bound(size_t n_bytes);
/* Write a MIDI file in the original's canonical form (docs/CANONICAL.md), byte for byte, into out
 * [cap]. Two files with the same canonical form are the same music written in two ways. Returns the
 * number of bytes. The call uses the memory of `tok` and sets its outcome. As in the original,
 * bytes that are no MIDI at all give an empty file. Errors: -MSIM_E_FORMAT where the original gives
 * up; -MSIM_E_LIMIT when cap is too small; -MSIM_E_MEMORY. After an error the content of `out`
 * means nothing. */
MSIM_API int64_t msim_midi_canonical(msim_tokenizer *tok, const void *midi, size_t n_bytes,
                                     unsigned char *out, size_t cap, msim_error *err);

/* ---- Walk: input files, listed, read and tokenised ------------------------------------------- */

/* A walk lists files and folders as a job does, and gives them in order: as token ids, which
 * several threads read and tokenise ahead, or as bytes.
 *
 *   msim_walk_options o = msim_walk_options_default();
 *   msim_walk_item item = {.size = sizeof item};
 *   msim_walk *walk;
 *   o.paths = &folder;  o.n_paths = 1;  o.is_tokenized = 1;
 *   int rc = msim_walk_open(&o, &walk, &e);
 *   while (rc >= 0 && (rc = msim_walk_next(walk, &item, &e)) > 0)
 *       if (item.reason == MSIM_SKIP_NONE) use(item.path, item.ids, item.starts[1]);
 *   msim_walk_close(walk);
 *
 * Only the thread that opened a walk may use it. */
typedef struct msim_walk msim_walk;

/* Start from msim_walk_options_default(). The walk borrows everything that a pointer names until it
 * is closed. */
typedef struct {
    size_t size; /* sizeof(msim_walk_options), set by the caller (R6) */

    /* The inputs, as for a job. */
    const char *const *paths;
    size_t n_paths;
    const char *files_from;
    int is_nul_separated;
    const char *from_tokens; /* token lines instead of files; the walk then needs a model, whose
                              * vocabulary bounds the ids */
    int has_stream;          /* 1: "-" among the paths is standard input, not a file's name */
    int names;               /* msim_names */
    int64_t shard, n_shards;

    /* What msim_walk_next gives: 1: token ids; 0 (default): the bytes of each file. */
    int is_tokenized;
    const msim_model *model; /* whose tokens are wanted; NULL: those of midisim's family */
    int transpose;           /* semitones, -12..12; 0 when transpose_factor is set */
    int transpose_factor;    /* 1..6: the variants of msim_tokenizer_encode; 0: one sequence */
    int64_t max_tokens;      /* keep only this many first tokens of a sequence; 0: all (default
                              * MSIM_TRAINED_TOKENS) */
    int threads;             /* files that are tokenised at a time; 0: one per processor */
    int is_background;       /* 1: the threads yield to others, such as an encoder's */

    /* As for a job. Of its steps, progress gets MSIM_STEP_LIST and MSIM_STEP_NONE. */
    int (*progress)(void *user, const msim_job_progress *progress);
    void (*message)(void *user, int level, const char *text);
    void *user;

    const msim_tokenizer_options *tokens; /* how files become tokens; NULL: as for the model, or as
                                           * msim_tokenizer_options_default says. With a model,
                                           * family and order are the model's, and this is NULL. */
} msim_walk_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_walk_options_init(msim_walk_options *options);
static inline msim_walk_options msim_walk_options_default(void) {
    msim_walk_options options;
    options.size = sizeof options;
    msim_walk_options_init(&options);
    return options;
}

/* List the inputs. With is_tokenized, the threads then begin to read. */
MSIM_API int msim_walk_open(const msim_walk_options *options, msim_walk **out, msim_error *err);
MSIM_API void msim_walk_close(msim_walk *walk);

/* One input. What a pointer names is the walk's. Texts of files live until the walk is closed; the
 * detail, the texts of token lines, bytes and ids live until the function that filled in the item
 * is called again. */
typedef struct {
    size_t size;      /* sizeof(msim_walk_item), set by the caller (R6) */
    int64_t index;    /* its number, from 0 */
    const char *path; /* what is opened; of a token line its name */
    const char *name; /* the name of its row: [name_bytes], not NUL-terminated */
    size_t name_bytes;
    const char *stem; /* the name that MSIM_NAMES_STEM gives it: [stem_bytes] */
    size_t stem_bytes;
    int reason;         /* msim_skip_reason: NONE, or why it gives nothing */
    const char *detail; /* more about the reason; may be empty */
    int is_failure;     /* as in msim_skip */
    int is_named;       /* 1: it was given by name, not found in a folder */
    int is_stream;      /* 1: it is standard input */
    int is_folder;      /* 1: a folder that cannot be read */
    int64_t file_bytes; /* its size when it was listed; -1: not known */

    const unsigned char *bytes; /* [n_bytes]: the file, gzip undone; NULL without */
    size_t n_bytes;

    const int32_t *ids;    /* sequence i is ids[starts[i] .. starts[i + 1]); NULL without */
    const int64_t *starts; /* [n_sequences + 1] */
    int64_t n_sequences;
    int64_t full_length; /* ids of the first sequence without max_tokens */
} msim_walk_item;

/* Give the next input. Returns 1, or 0 after the last. An input that cannot be used is given too,
 * with its reason. Errors: -MSIM_E_STOPPED when progress asked to stop, -MSIM_E_MEMORY. */
MSIM_API int msim_walk_next(msim_walk *walk, msim_walk_item *out, msim_error *err);
/* What the list says about input `index`, 0..stats.files - 1. Token lines are not listed. */
MSIM_API int msim_walk_get_input(const msim_walk *walk, int64_t index, msim_walk_item *out);
/* Read input `index` on the calling thread, whatever msim_walk_next gives. The item has the bytes
 * or a reason. Errors are those of msim_walk_next. */
MSIM_API int msim_walk_read(msim_walk *walk, int64_t index, msim_walk_item *out, msim_error *err);

typedef struct {
    size_t size;           /* sizeof(msim_walk_stats), set by the caller (R6) */
    int64_t files;         /* inputs in the list; 0 with token lines */
    int64_t given;         /* inputs that msim_walk_next gave */
    int64_t cut;           /* of these, inputs longer than max_tokens */
    int64_t empty_folders; /* given folders that hold no MIDI file */
} msim_walk_stats;

MSIM_API int msim_walk_get_stats(const msim_walk *walk, msim_walk_stats *out);

/* The msim_skip_reason of a file for which the tokeniser has this msim_outcome. */
MSIM_API int msim_skip_reason_of_outcome(int outcome);
/* 0 for MSIM_SKIP_NONE, and for a file without notes that no one named: it was found in a folder,
 * which is quite usual. Else 1. */
MSIM_API int msim_skip_is_failure(int reason, int is_named);

/* ---- Notes of a MIDI file -------------------------------------------------------------------- */

/* One note. This struct never grows, because callers have arrays of it. */
typedef struct {
    uint32_t start_ms;    /* from the beginning of the file; at most MSIM_NOTE_MAX_MS */
    uint32_t duration_ms; /* until its note-off */
    uint16_t voice;       /* index of its msim_voice */
    uint8_t pitch;        /* 0..127 */
    uint8_t velocity;     /* 1..127; 0: not known */
} msim_note;
#define MSIM_NOTE_MAX_MS 0x7fffffff

/* The notes of one track on one channel. This struct never grows. */
typedef struct {
    uint16_t track;   /* from 0, in the order of the file */
    uint8_t channel;  /* 0..15 */
    uint8_t program;  /* 0..127, as it is when the voice begins */
    const char *name; /* the name of the track: [name_bytes], not NUL-terminated; may be "" */
    size_t name_bytes;
} msim_voice;

/* The start of one bar. This struct never grows. */
typedef struct {
    uint32_t start_ms;
    uint8_t beats;     /* the time signature: 3 of 3/4 */
    uint8_t beat_unit; /* and 4; up to 128 */
} msim_bar;

/* The notes of one piece, in the order of (start, falling pitch, voice). Drums (channel 10) are
 * left out. Pointers are borrowed. */
typedef struct {
    size_t size;            /* sizeof(msim_piece_notes), set by the caller (R6) */
    const msim_note *notes; /* [n_notes] */
    size_t n_notes;
    const msim_voice *voices; /* [n_voices], by track, then channel */
    size_t n_voices;
    const msim_bar *bars; /* [n_bars]; none where a file has more bars than 16 for each note */
    size_t n_bars;
} msim_piece_notes;

/* Reads notes as the file has them. The tokeniser imitates the original and cleans them up; this
 * reader does neither. Note-offs are paired inside a track, and time runs at 120 beats a minute
 * until the first tempo, as the standard says. */
typedef struct msim_note_reader msim_note_reader;

MSIM_API int msim_note_reader_open(msim_note_reader **out, msim_error *err);
MSIM_API void msim_note_reader_close(msim_note_reader *reader);
/* Also give the notes of channel 10, as voices of that channel, from the next read on (is_kept 1),
 * or no longer (0, the default). Drums have no pitch: do not compare them or add them to an
 * index. */
MSIM_API void msim_note_reader_keep_drums(msim_note_reader *reader, int is_kept);
/* Read the notes of one MIDI file, given as uncompressed bytes. What `out` points to is the
 * reader's until its next call. Errors are those of msim_tokenizer_encode. */
MSIM_API int msim_note_reader_read(msim_note_reader *reader, const void *midi, size_t n_bytes,
                                   msim_piece_notes *out, msim_error *err);
/* msim_outcome of the last read. */
MSIM_API int msim_note_reader_outcome(const msim_note_reader *reader);
/* From now on the calls of msim_tokenizer_encode and msim_tokenizer_encode_at also give the notes
 * of their file to `reader`, so that it is parsed once for both. The reader is borrowed; NULL: none
 * any more. msim_note_reader_get gives the notes of the last file, or says why there are none. The
 * tokeniser may refuse a file that has notes. It fails with -MSIM_E_MEMORY for both. */
MSIM_API void msim_tokenizer_share(msim_tokenizer *tokenizer, msim_note_reader *reader);
MSIM_API int msim_note_reader_get(const msim_note_reader *reader, msim_piece_notes *out,
                                  msim_error *err);

/* Write notes as a small standard MIDI file of format 1 into out [cap]: one track per voice, at 120
 * beats a minute. Notes are in order of start; the first note is moved to 0 unless keeps_start.
 * Returns the number of bytes; if that is more than cap, call again with a larger buffer. */
MSIM_API int64_t msim_midi_write_notes(const msim_piece_notes *piece, int keeps_start,
                                       unsigned char *out, size_t cap, msim_error *err);

/* Read a phrase that someone typed: notes one after the other, such as "G4 G4 A4 G4 C5 B4:2".
 * docs/NOTES.md has the grammar. A beat lasts 500 ms. Writes the first `cap` notes into out and
 * returns how many there are. -MSIM_E_ARG says what cannot be read. */
MSIM_API int64_t msim_notes_parse(const char *text, msim_note *out, size_t cap, msim_error *err);

/* ---- Note index: which pieces share passages, where, in which key, how surely ---------------- */

/* A note index is one file that holds the notes of a collection and the places of their short
 * melodic words. It answers "which piece is this, and where is the passage?" in any key and at any
 * tempo. docs/NOTES.md explains it, docs/FORMATS.md has its bytes. */
typedef struct msim_notes msim_notes;

/* Open an index. The file is mapped read-only, so processes share it, and threads may share the
 * handle. Its tables are checked here; msim_notes_check reads all of it and compares every
 * checksum. -MSIM_E_FORMAT: damaged, or of another version. */
MSIM_API int msim_notes_open(const char *path, msim_notes **out, msim_error *err);
MSIM_API int msim_notes_check(const msim_notes *notes, msim_error *err);
MSIM_API void msim_notes_close(msim_notes *notes);

typedef struct {
    size_t size; /* sizeof(msim_notes_info), set by the caller (R6) */
    int64_t pieces, notes, postings, file_bytes;
    int density;                       /* of every so many words one was kept; 1: all */
    int has_bottom;                    /* 1: bottom lines are indexed too */
    int64_t note_bytes, posting_bytes; /* of the file */
} msim_notes_info;
MSIM_API int msim_notes_get_info(const msim_notes *notes, msim_notes_info *out);

enum { MSIM_CONTENT_BYTES = 16 };
/* What the index knows about piece 0..pieces - 1. Pieces are in bytewise order of name. */
typedef struct {
    size_t size;      /* sizeof(msim_notes_piece), set by the caller (R6) */
    const char *name; /* [name_bytes], not NUL-terminated; the index's */
    size_t name_bytes;
    int64_t n_notes; /* notes that the index holds: one for each pitch of a chord */
    double seconds;  /* where the last note begins */
    uint64_t digest; /* equal for the same notes in another key or at another tempo */
    unsigned char content[MSIM_CONTENT_BYTES]; /* the first bytes of the file's SHA-256 */
} msim_notes_piece;
MSIM_API int msim_notes_get_piece(const msim_notes *notes, int64_t piece, msim_notes_piece *out);
/* The number of the first piece of that name, or -MSIM_E_EMPTY. */
MSIM_API int64_t msim_notes_find_piece(const msim_notes *notes, const char *name,
                                       size_t name_bytes);
/* The notes of a piece as the index keeps them: onsets of a chord are one time, durations are
 * coarse, velocities are not known. Pointers of `out` are the piece's memory, which the caller
 * frees with msim_notes_free_piece. */
typedef struct msim_loaded_piece msim_loaded_piece;
MSIM_API int msim_notes_load_piece(const msim_notes *notes, int64_t piece,
                                   msim_loaded_piece **loaded, msim_piece_notes *out,
                                   msim_error *err);
MSIM_API void msim_notes_free_piece(msim_loaded_piece *loaded);

/* ---- Building an index ---- */

/* Start from msim_notes_options_default(). */
typedef struct {
    size_t size;           /* sizeof(msim_notes_options), set by the caller (R6) */
    int density;           /* keep one of so many neighbouring words, 1..16; a third of the words
                           * makes half the file (default 1: all) */
    int leaves_out_bottom; /* 1: no bottom lines, a sixth smaller */
    int64_t memory_bytes;  /* of the builder; what is more is sorted on disk beside the output
                           * (default 1 GiB) */
} msim_notes_options;
MSIM_API void msim_notes_options_init(msim_notes_options *options);
static inline msim_notes_options msim_notes_options_default(void) {
    msim_notes_options options;
    options.size = sizeof options;
    msim_notes_options_init(&options);
    return options;
}

/* A builder writes an index: open, add pieces in any order, finish, close. The bytes depend on the
 * pieces and options alone. A piece that was added before, with the same name and content, is
 * dropped. close without finish removes the temporary files. */
typedef struct msim_notes_builder msim_notes_builder;
MSIM_API int msim_notes_builder_open(const char *path, const msim_notes_options *options,
                                     msim_notes_builder **out, msim_error *err);
/* content is the beginning of the SHA-256 of the file's bytes; NULL: zeros. */
MSIM_API int msim_notes_builder_add(msim_notes_builder *builder, const char *name,
                                    size_t name_bytes, const unsigned char *content,
                                    const msim_piece_notes *piece, msim_error *err);
/* Notes for later: the notes of a piece as bytes, without velocities, about 5 for each note. bound
 * gives an upper bound of them; pack writes them to `out` and returns their number. Adding them is
 * adding the piece. -MSIM_E_FORMAT: the bytes are damaged. */
MSIM_API size_t msim_notes_pack_bound(const msim_piece_notes *piece);
MSIM_API size_t msim_notes_pack(const msim_piece_notes *piece, unsigned char *out);
MSIM_API int msim_notes_builder_add_packed(msim_notes_builder *builder, const char *name,
                                           size_t name_bytes, const unsigned char *content,
                                           const unsigned char *bytes, size_t n_bytes,
                                           msim_error *err);
/* Add all pieces of an index of the same options, or those for which keep returns non-zero. keep
 * may be NULL. The index must stay open until finish. */
MSIM_API int msim_notes_builder_add_index(msim_notes_builder *builder, const msim_notes *notes,
                                          int (*keep)(void *user, int64_t piece), void *user,
                                          msim_error *err);
/* Write what was added so far to an index of its own, and forget it. Indexes that were added must
 * then be added again. */
MSIM_API int msim_notes_builder_save(msim_notes_builder *builder, const char *path,
                                     msim_error *err);
MSIM_API int msim_notes_builder_finish(msim_notes_builder *builder, msim_error *err);
MSIM_API void msim_notes_builder_close(msim_notes_builder *builder);

/* The whole job: list files, read them, write the index. What a job has read is kept when it is
 * stopped, and every 20,000 files, in OUTPUT.kept-0, OUTPUT.kept-1 and so on. The next run takes
 * unchanged pieces from there and removes these files at its end. An output that is a folder, or a
 * file but no note index, is refused before any work: -MSIM_E_ARG. Start from
 * msim_notes_job_options_default(). The walk lists the inputs; its fields about tokens do not
 * matter, and progress and message are its. */
typedef struct {
    size_t size; /* sizeof(msim_notes_job_options), set by the caller (R6) */
    msim_walk_options walk;
    msim_notes_options notes;
    const char *output;
    int update; /* 1: output exists; pieces whose bytes are unchanged are taken from it, those
                 * whose files are gone are dropped */
    int (*skip)(void *user, const msim_walk_item *item); /* called for each input that gave no
                                                          * piece, with its reason; may be NULL */
    void *skip_user;
    const msim_ranks *ranks; /* NULL: this process alone. Rank 0 lists the inputs, every rank reads
                              * its share of them, rank 0 writes, and knows what it came to */
} msim_notes_job_options;
MSIM_API void msim_notes_job_options_init(msim_notes_job_options *options);
static inline msim_notes_job_options msim_notes_job_options_default(void) {
    msim_notes_job_options options;
    options.size = sizeof options;
    msim_notes_job_options_init(&options);
    return options;
}
typedef struct {
    size_t size;                    /* sizeof(msim_notes_job_stats), set by the caller (R6) */
    int64_t files, pieces, skipped; /* inputs; pieces of the index; inputs that gave none */
    int64_t added, kept, dropped;   /* pieces, with update */
    int64_t notes;
    double read_seconds, write_seconds;
} msim_notes_job_stats;
MSIM_API int msim_notes_build(const msim_notes_job_options *options, msim_notes_job_stats *stats,
                              msim_error *err);
/* Write the pieces of several indexes of the same options as one: the bytes are those of one job
 * over all their files. Outputs are refused as there. */
MSIM_API int msim_notes_merge(const char *const *paths, size_t n_paths, const char *output,
                              int64_t memory_bytes, msim_error *err);

/* ---- Finding ---- */

/* How a match relates to the query, by the notes alone. docs/NOTES.md has the rules. */
enum msim_relation {
    MSIM_RELATION_NONE = 0,   /* chance gives such hits too */
    MSIM_RELATION_SAME_NOTES, /* the same notes; maybe another key or tempo */
    MSIM_RELATION_SAME_PIECE, /* most notes of both agree */
    MSIM_RELATION_PART_OF,    /* the query is in the match */
    MSIM_RELATION_CONTAINS,   /* the match is in the query */
    MSIM_RELATION_VERSION,    /* a good part of both agrees */
    MSIM_RELATION_PASSAGE,    /* they share a passage */
    MSIM_RELATION_COUNT
};
/* "none", "same notes", "same piece", "part of", "contains", "version", "shares a passage"; NULL
 * for an unknown value. */
MSIM_API const char *msim_relation_name(int relation);

/* A stretch where query and match agree. Seconds count from the beginning of each. This struct
 * never grows. */
typedef struct {
    double query_from, query_to; /* seconds: onsets of the first and the last note */
    double from, to;
    int64_t query_first, query_last; /* notes of the query as the index orders them */
    int64_t first, last;             /* notes of the piece, as msim_notes_load_piece gives them */
    int64_t n_matched;
    double score; /* bits */
} msim_place;

/* One match. This struct never grows within one MSIM_ABI. */
typedef struct {
    int64_t piece;
    int relation;               /* msim_relation */
    int is_significant;         /* 1: evalue <= the threshold of the options */
    double evalue;              /* expected number of hits as good by chance, for this query in this
                    * collection; never 0: 1e-300 stands for all that is smaller */
    double score;               /* bits, all places that are no repetition of another */
    int64_t n_matched;          /* notes that agree */
    int64_t of_query, of_piece; /* notes of both in all */
    double identity;            /* share of the notes of both regions that agree */
    int transpose;              /* semitones to add to the query to get the match */
    int is_same_key, is_same_tempo;
    double tempo;             /* seconds of the match for one second of the query */
    double residual;          /* seconds: rms distance of onsets from one even tempo */
    int voice;                /* of the piece: the voice of most of the matched notes */
    double voice_share;       /* of the matched notes */
    msim_place place;         /* the best one */
    const msim_place *others; /* [n_others]: other sections, and other places of the same
                               * passage; the finder's until its next call */
    int64_t n_others;
} msim_note_match;

/* Start from msim_finder_options_default(). */
typedef struct {
    size_t size;                 /* sizeof(msim_finder_options), set by the caller (R6) */
    int64_t max_matches;         /* of one query (default 16) */
    double evalue;               /* matches up to here are significant (default 1e-3) */
    int is_same_key;             /* 1: only matches that are not transposed */
    int is_same_tempo;           /* 1: only matches whose tempo is within 3 % */
    const unsigned char *within; /* borrowed: [pieces], 1 for each piece that may match; NULL: all.
                                  * The E values are those of a search in these pieces */
    int is_light;            /* 1: quick, for whole pieces: a sample of the words, no E values */
    const msim_ranks *ranks; /* borrowed; NULL: this process alone. Else every rank opens the same
                              * index with the same options and asks the same queries in the same
                              * order; each looks at a part of the pieces. Rank 0 gets the
                              * matches, those of a single process; the others get none */
    int (*should_stop)(void *user); /* called now and then during a search, on the thread that
                                     * searches; non-zero ends the search with -MSIM_E_STOPPED, on
                                     * every rank; NULL: never */
    void *stop_user;                /* passed to should_stop */
} msim_finder_options;
MSIM_API void msim_finder_options_init(msim_finder_options *options);
static inline msim_finder_options msim_finder_options_default(void) {
    msim_finder_options options;
    options.size = sizeof options;
    msim_finder_options_init(&options);
    return options;
}

/* A finder is one thread's working memory on an index, which must stay open. */
typedef struct msim_finder msim_finder;
MSIM_API int msim_finder_open(const msim_notes *notes, const msim_finder_options *options,
                              msim_finder **out, msim_error *err);
MSIM_API void msim_finder_close(msim_finder *finder);
/* Find the pieces that share notes with a query: notes [n], in any order, of any length. Returns
 * how many matches there are, at most max_matches, best first: significant ones and then the
 * others. *matches is the finder's until its next call. The result does not depend on threads or
 * earlier calls. -MSIM_E_STOPPED: should_stop asked to stop; the finder can be used again. */
MSIM_API int64_t msim_finder_find(msim_finder *finder, const msim_note *query, size_t n,
                                  const msim_note_match **matches, msim_error *err);

/* Notes that arrive one by one, as someone plays. A stream keeps the latest ones and finds the
 * pieces that share them, as often as it is asked. Its memory depends on the window and the index,
 * not on how many notes came. One thread uses a stream; the index must stay open. */
typedef struct msim_notes_stream msim_notes_stream;
enum { MSIM_STREAM_NOTES = 256, MSIM_STREAM_MAX_NOTES = 100000 };
/* options as for a finder, or NULL. window: how many notes count, the latest to come, 1 ..
 * MSIM_STREAM_MAX_NOTES; 0: MSIM_STREAM_NOTES. */
MSIM_API int msim_notes_stream_open(const msim_notes *notes, const msim_finder_options *options,
                                    int64_t window, msim_notes_stream **out, msim_error *err);
MSIM_API void msim_notes_stream_close(msim_notes_stream *stream);
/* Notes [n] have come, whose onsets may be in any order. -MSIM_E_ARG for one that no piece can
 * have (pitch above 127, onset after MSIM_NOTE_MAX_MS): then none of them counts. */
MSIM_API int msim_notes_stream_push(msim_notes_stream *stream, const msim_note *notes, size_t n,
                                    msim_error *err);
/* The notes that count, in the order in which they came; the stream's until the next push. */
MSIM_API size_t msim_notes_stream_notes(const msim_notes_stream *stream, const msim_note **notes);
/* What msim_finder_find gives for these notes. *matches is the stream's until its next call. When
 * nothing has come since the last answer, that one is given again, at no cost. */
MSIM_API int64_t msim_notes_stream_answer(msim_notes_stream *stream,
                                          const msim_note_match **matches, msim_error *err);

/* ---- Pairs ---- */

/* Compare two pieces directly, note by note, whatever an index says of how frequent their words
 * are. A comparer is one thread's working memory; both indexes must stay open, and may be one.
 * evalue: matches up to here are significant. */
typedef struct msim_comparer msim_comparer;
MSIM_API int msim_comparer_open(const msim_notes *notes_a, const msim_notes *notes_b, double evalue,
                                msim_comparer **out, msim_error *err);
MSIM_API void msim_comparer_close(msim_comparer *comparer);
/* The match of piece a of notes_a as the query with piece b of notes_b. The relation is
 * MSIM_RELATION_NONE when nothing significant agrees. Numbers of notes, keys, tempos and score are
 * the same, seen from the other side, when b is compared with a. match->others is the comparer's
 * until its next call. */
MSIM_API int msim_comparer_compare(msim_comparer *comparer, int64_t a, int64_t b,
                                   msim_note_match *match, msim_error *err);
/* The same for one pair, with an E value of 1e-3 and without match->others. */
MSIM_API int msim_notes_compare(const msim_notes *notes_a, int64_t a, const msim_notes *notes_b,
                                int64_t b, msim_note_match *match, msim_error *err);

/* A note of one piece and the note of another that agrees with it. This struct never grows. */
typedef struct {
    int64_t query, piece; /* numbers in the arrays that were given */
} msim_note_pair;
/* A passage that two pieces share. This struct never grows within one MSIM_ABI. */
typedef struct {
    msim_place place;            /* its notes are numbers in the arrays that were given */
    int transpose;               /* semitones to add to the query to get the piece */
    double tempo;                /* seconds of the piece for one second of the query */
    const msim_note_pair *pairs; /* [place.n_matched], in order of the query */
} msim_passage;

/* Lay two pieces on each other, note by note, without an index. An aligner is one thread's working
 * memory. Notes are in any order; leave drums out. Notes of a chord that several voices play are
 * paired once. Returns how many passages there are, best first: further sections, and then
 * repetitions of the best one. *passages is the aligner's until its next call. Which agreement
 * chance would give too, it does not say. */
typedef struct msim_aligner msim_aligner;
MSIM_API int msim_aligner_open(msim_aligner **out, msim_error *err);
MSIM_API void msim_aligner_close(msim_aligner *aligner);
MSIM_API int64_t msim_aligner_align(msim_aligner *aligner, const msim_note *query, size_t n_query,
                                    const msim_note *piece, size_t n_piece,
                                    const msim_passage **passages, msim_error *err);

/* What msim_notes_pairs is doing when it calls progress. */
enum msim_pairs_stage {
    MSIM_PAIRS_ASKING = 0, /* each piece proposes others; counted in pieces */
    MSIM_PAIRS_COMPARING   /* proposed pairs are compared; counted in pairs */
};

/* Start from msim_pairs_options_default(). */
typedef struct {
    size_t size;               /* sizeof(msim_pairs_options), set by the caller (R6) */
    const msim_notes *against; /* borrowed: find pieces of this index; NULL: of the same one */
    int64_t first, count; /* only pieces first .. first + count - 1 ask; count -1: all others */
    const unsigned char *asks; /* borrowed: [pieces], 1 for each piece that asks; NULL: all */
    double evalue;             /* pairs up to here are significant (default 1e-3) */
    unsigned relations;        /* give these alone: sum of 1 << msim_relation; 0: all, but NONE */
    int is_same_key;           /* 1: only pairs of one key */
    int is_same_tempo;         /* 1: only pairs whose tempo is within 3 % */
    int gives_both;            /* 0: give each pair once. 1: give a pair of pieces that both ask
                                * twice, once for either as the query */
    int threads;               /* 0: one per processor */
    const msim_ranks *ranks;   /* borrowed; NULL: this process alone. Else every rank opens the same
                                * indexes with the same options and calls; each does a part, and
                                * rank 0 gives the pairs */
    int (*progress)(void *user, int stage, int64_t done, int64_t all); /* may be NULL; non-zero
                                                                        * stops */
    void *progress_user;
} msim_pairs_options;
MSIM_API void msim_pairs_options_init(msim_pairs_options *options);
static inline msim_pairs_options msim_pairs_options_default(void) {
    msim_pairs_options options;
    options.size = sizeof options;
    msim_pairs_options_init(&options);
    return options;
}

/* Receives one pair: piece `a` as the query, and its match, without match->others. Return 0 to go
 * on. The library calls this function from one thread at a time, in order of a, then of the
 * match's piece. */
typedef int (*msim_pair_sink)(void *user, int64_t a, const msim_note_match *match);
/* Find all pairs of pieces that share a good part of their notes: pieces that ask propose others
 * that share rare words, and each proposed pair is compared as by msim_comparer. Of a pair whose
 * pieces both ask, the one with the lower number is the query; else it is the one that asks. A pair
 * is found when either piece proposes the other. Pairs that agree in less than a quarter of the
 * shorter piece are left out, unless one passage is long. options may be NULL. Returns the number
 * of pairs that sink received. The result does not depend on threads or ranks. Memory: 8 bytes for
 * each proposed pair, and with gives_both about 500 for each pair. */
MSIM_API int64_t msim_notes_pairs(const msim_notes *notes, const msim_pairs_options *options,
                                  msim_pair_sink sink, void *user, msim_error *err);

/* ---- Groups: what belongs together in a collection ---- */

/* Find all pairs of a collection, group them, and say which file of each group to keep. Files of
 * the same content are read and compared once. What was found is kept in files beside `work`, by
 * content: the next run compares new contents alone, and a run that ended in any way goes on. The
 * result depends on the files and options alone, not on their order, on threads or ranks.
 * docs/guide/duplicates.md explains kinds and rules.
 *
 *   msim_groups_options o = msim_groups_options_default();
 *   msim_groups *groups;
 *   o.paths = &folder;  o.n_paths = 1;  o.work = "music.groups";
 *   int rc = msim_groups_find(&o, &groups, &e);
 *   msim_groups_close(groups);
 */
typedef struct msim_groups msim_groups;

/* How two files relate, the strongest kind first. */
enum msim_pair_kind {
    MSIM_PAIR_NONE = 0,
    MSIM_PAIR_BYTES,   /* the same content; gzip is undone first */
    MSIM_PAIR_NOTES,   /* the same notes in the same key at the same tempo */
    MSIM_PAIR_KEY,     /* the same notes in another key or at another tempo */
    MSIM_PAIR_PIECE,   /* most notes of both agree */
    MSIM_PAIR_VERSION, /* a good part of both agrees */
    MSIM_PAIR_EXCERPT, /* one is a part of the other */
    MSIM_PAIR_ALIKE,   /* their vectors are alike: no note need agree */
    MSIM_PAIR_COUNT
};
/* "bytes", "notes", "key", "piece", "version", "excerpt", "alike"; "none"; NULL for an unknown
 * value. */
MSIM_API const char *msim_pair_kind_name(int kind);

/* SINGLE: what a chain of pairs connects is one group. COMPLETE: every two members are a pair.
 * VERIFIED: every member is a pair with the one that is kept. For the last two, pairs that were not
 * seen are compared directly. */
enum msim_link { MSIM_LINK_VERIFIED = 0, MSIM_LINK_COMPLETE, MSIM_LINK_SINGLE };
/* Which file of a group is kept; of equal ones the first by name. */
enum msim_keeper {
    MSIM_KEEPER_LONGEST = 0, /* in seconds */
    MSIM_KEEPER_MOST_NOTES,
    MSIM_KEEPER_MOST_TRACKS, /* tracks with notes */
    MSIM_KEEPER_EARLIEST_NAME,
    MSIM_KEEPER_NEWEST,     /* by the time of the file; names of an index have none */
    MSIM_KEEPER_PREFERENCES /* the first of `preferences` that fits */
};

/* Start from msim_groups_options_default(). */
typedef struct {
    size_t size; /* sizeof(msim_groups_options), set by the caller (R6) */
    /* MIDI files and folders, named as by a walk; note indexes (NAME.notes); and corpora
     * (NAME.npy), whose note index lies beside them. */
    const char *const *paths;
    size_t n_paths;
    const char *files_from; /* more paths of MIDI files, as for a walk; NULL: none */
    int is_nul_separated;
    /* A second collection: then only pairs between the two are looked for. */
    const char *const *against;
    size_t n_against;
    /* Files beside this path: WORK.notes (the notes of MIDI files), WORK.pairs (what was found),
     * and WORK.part.notes during the run. */
    const char *work;
    const char *state; /* instead of WORK.pairs; NULL: WORK.pairs */
    int kinds;         /* bits 1 << msim_pair_kind that join groups; an excerpt is attached to the
                        * group of its whole, and joins none (default bytes, notes, key, piece) */
    int link;          /* msim_link */
    int keep;          /* msim_keeper */
    const char *const *preferences; /* names, or patterns as in a shell, best first */
    size_t n_preferences;
    double evalue; /* pairs of which chance gives more are none (default 1e-3) */
    double alike;  /* rows of the given corpora whose cosine is this or more are a pair, too;
                    * 0 (default): vectors are not looked at */
    int threads;   /* 0: one per processor */
    /* Called now and then with what is counted; non-zero stops the job with -MSIM_E_STOPPED. */
    int (*progress)(void *user, const char *unit, int64_t done, int64_t all);
    void (*message)(void *user, int level, const char *text); /* as for a job */
    void *user;
    const msim_ranks
        *ranks; /* NULL: this process alone. Rank 0 gets the result, the others an empty
                              * one; all see the files beside `work` */
} msim_groups_options;
MSIM_API void msim_groups_options_init(msim_groups_options *options);
static inline msim_groups_options msim_groups_options_default(void) {
    msim_groups_options options;
    options.size = sizeof options;
    msim_groups_options_init(&options);
    return options;
}
MSIM_API int msim_groups_find(const msim_groups_options *options, msim_groups **out,
                              msim_error *err);
MSIM_API void msim_groups_close(msim_groups *groups);

typedef struct {
    size_t size;                     /* sizeof(msim_groups_info), set by the caller (R6) */
    int64_t files, contents, pieces; /* pieces: contents with notes */
    int64_t groups;                  /* of two files and more: numbers 1..groups */
    int64_t singles;                 /* files alone: numbers groups + 1.. */
    int64_t without_notes, unread;   /* files that take part by their bytes alone; files that
                                        * could not be read, which take no part, or whose notes
                                        * need more memory than there is */
    int64_t asked, known;            /* pieces that this run compared; that an earlier one had */
    int64_t compared;                /* pairs that were compared directly for the groups */
    int64_t pairs[16];               /* by msim_pair_kind, as msim_groups_pairs gives them */
} msim_groups_info;
MSIM_API int msim_groups_get_info(const msim_groups *groups, msim_groups_info *out);

/* A file, 0..files - 1 in bytewise order of name. Texts are the handle's. */
typedef struct {
    size_t size;      /* sizeof(msim_groups_file), set by the caller (R6) */
    const char *name; /* [name_bytes], not NUL-terminated */
    size_t name_bytes;
    const char *path; /* NULL: a piece of an index */
    int collection;   /* 0; 1: of `against` */
    int reason;       /* msim_skip_reason: why it has no notes */
    int64_t group;    /* its number, from 1 */
    int64_t keeper;   /* the file that is kept of its group: may be itself */
    int64_t bytes;    /* its size; -1: not known */
    int64_t n_notes;
    double seconds;
    int is_unread; /* 1: it could not be read, and takes no part */
} msim_groups_file;
MSIM_API int msim_groups_get_file(const msim_groups *groups, int64_t file, msim_groups_file *out);
/* The members of group 1..groups + singles, in order of name: pointers are the handle's. */
MSIM_API int64_t msim_groups_get_members(const msim_groups *groups, int64_t group,
                                         const int64_t **files);

/* Two files and the evidence. This struct never grows within one MSIM_ABI. */
typedef struct {
    int64_t a, b;                  /* files */
    int kind;                      /* msim_pair_kind */
    int direction;                 /* EXCERPT: 1: a is a part of b, -1: b is a part of a; else 0 */
    int64_t n_matched, of_a, of_b; /* notes that agree, and of both in all */
    int transpose;                 /* semitones to add to a to get b */
    double tempo;                  /* seconds of b for one second of a */
    double identity;               /* share of the notes of both regions that agree */
    double score, evalue;          /* score: bits; ALIKE: the cosine */
    double a_from, a_to, b_from, b_to; /* seconds: where they agree */
} msim_file_pair;
/* How two files relate. Returns the kind, MSIM_PAIR_NONE when no pair was seen. */
MSIM_API int msim_groups_relate(const msim_groups *groups, int64_t a, int64_t b,
                                msim_file_pair *out);
/* Why a file is in its group: how the file that is kept relates to it, or, where only a chain of
 * pairs links the two, how another member does. out->a is that file, out->b this one. Returns the
 * kind, MSIM_PAIR_NONE for a file that is kept. */
MSIM_API int msim_groups_explain(const msim_groups *groups, int64_t file, msim_file_pair *out);
/* Give all pairs in order of (a, b), a < b. Files of one content, and contents of the same notes,
 * are given with the first of them alone. sink returns 0 to go on. Returns the number of pairs. */
MSIM_API int64_t msim_groups_pairs(const msim_groups *groups,
                                   int (*sink)(void *user, const msim_file_pair *pair), void *user,
                                   msim_error *err);

/* How a split is dealt, bits: each first folder of the names by itself, as far as its pairs allow;
 * shares of the notes instead of the files, where a file without notes counts as one note. */
enum { MSIM_SPLIT_FOLDERS = 1, MSIM_SPLIT_NOTES = 2 };
/* Deal all files to sides so that no pair of any kind is on two sides. shares [n_sides] are
 * positive. The result depends on the seed, on `how` and on the files. sides [files] gets
 * 0..n_sides - 1. lumps [files], or NULL, gets the number from 1 of what pairs connect, which is
 * dealt as a whole. crossing, or NULL: pairs on two sides, counted afterwards. */
MSIM_API int msim_groups_split(const msim_groups *groups, const double *shares, int n_sides,
                               uint64_t seed, int how, int *sides, int64_t *lumps,
                               int64_t *crossing, msim_error *err);

/* ---- Report: matches, groups and a map as one HTML file ---- */

/* A report is one HTML file that opens from disk without a network: it shows and plays queries with
 * their matches, groups, and a map of a corpus. Names of files are only ever text in it.
 *
 *   msim_report_options o = msim_report_options_default();
 *   msim_report *report;
 *   o.roots = &folder;  o.n_roots = 1;
 *   int rc = msim_report_open(&o, &report, &e);
 *   int64_t a = msim_report_add_piece(report, "a.mid", 5, NULL, &e);
 *   int64_t b = msim_report_add_piece(report, "b.mid", 5, NULL, &e);
 *   int64_t query = msim_report_add_query(report, a, -1, -1, &e);
 *   msim_report_match match = msim_report_match_default();
 *   match.piece = b;
 *   rc = (int)msim_report_add_match(report, query, &match, &e);
 *   if (rc >= 0) rc = msim_report_write(report, "report.html", &e);
 *   msim_report_close(report);
 *
 * A function that fails leaves the report as it was. */
typedef struct msim_report msim_report;

/* Start from msim_report_options_default(). */
typedef struct {
    size_t size;              /* sizeof(msim_report_options), set by the caller (R6) */
    const char *title;        /* of the page; NULL: what it is about */
    const char *const *roots; /* folders in which the names of pieces are paths; copied */
    size_t n_roots;
    const msim_notes *notes; /* borrowed: has the notes of pieces whose file is not there; NULL */
    int64_t
        max_piece_notes; /* of a longer piece the first notes alone are shown (default 50,000) */
    int64_t max_notes;   /* of the whole report; pieces beyond are named without their notes
                              * (default 2,000,000, some 10 MB) */
    int64_t max_groups;  /* groups beyond are counted (default 500) */
    int64_t max_points;  /* of the map; of a larger corpus every so many-th piece is a point
                              * (default 5,000) */
    int64_t max_point_notes; /* that a point of the map plays (default 64; 0: none) */
    /* Called now and then while groups or a map are added, with what is counted (all < 0: nobody
     * knows how many). Non-zero ends the call with -MSIM_E_STOPPED. NULL: it runs to its end. */
    int (*progress)(void *user, const char *unit, int64_t done, int64_t all);
    void *user; /* passed to progress */
} msim_report_options;
MSIM_API void msim_report_options_init(msim_report_options *options);
static inline msim_report_options msim_report_options_default(void) {
    msim_report_options options;
    options.size = sizeof options;
    msim_report_options_init(&options);
    return options;
}

MSIM_API int msim_report_open(const msim_report_options *options, msim_report **out,
                              msim_error *err);
MSIM_API void msim_report_close(msim_report *report);

/* Add a piece, and read its notes: of the file `path`, or with NULL of the file with that name
 * below a root, or of the note index. A name that leads out of a root is looked for in the index
 * alone. Without notes, the report says what the piece lacks. Returns the number of the piece,
 * which is that of before when the name and path are known. */
MSIM_API int64_t msim_report_add_piece(msim_report *report, const char *name, size_t name_bytes,
                                       const char *path, msim_error *err);
/* Add a piece by its notes, which are copied, or by the bytes of a MIDI file. */
MSIM_API int64_t msim_report_add_notes(msim_report *report, const char *name, size_t name_bytes,
                                       const msim_piece_notes *notes, msim_error *err);
MSIM_API int64_t msim_report_add_midi(msim_report *report, const char *name, size_t name_bytes,
                                      const void *midi, size_t n_bytes, msim_error *err);

/* Add a query: a piece, or the part of it that was asked for (seconds; -1: from its beginning, to
 * its end). Returns the number of the query. */
MSIM_API int64_t msim_report_add_query(msim_report *report, int64_t piece, double from_seconds,
                                       double to_seconds, msim_error *err);

/* Start from msim_report_match_default(). */
typedef struct {
    size_t size;   /* sizeof(msim_report_match), set by the caller (R6) */
    int64_t piece; /* of the report */
    /* Of a search by vectors. */
    int has_score;
    double score;                          /* the cosine */
    int transpose;                         /* semitones by which the query was moved */
    int likeness;                          /* msim_likeness */
    double chance;                         /* msim_meaning.matches; -1: not known */
    double query_from, query_to, from, to; /* the stretches that are alike, in seconds; -1: all */
    /* Of a search by notes: borrowed during the call; NULL: it found nothing, or was not asked. The
     * report lays query and match on each other in any case, to show which notes agree. */
    const msim_note_match *notes;
} msim_report_match;
MSIM_API void msim_report_match_init(msim_report_match *match);
static inline msim_report_match msim_report_match_default(void) {
    msim_report_match match;
    match.size = sizeof match;
    msim_report_match_init(&match);
    return match;
}
/* Add a match of a query, in the order in which they are to stand. Returns its number. */
MSIM_API int64_t msim_report_add_match(msim_report *report, int64_t query,
                                       const msim_report_match *match, msim_error *err);
/* Add all groups of two files and more. The handle may be closed afterwards. */
MSIM_API int msim_report_add_groups(msim_report *report, const msim_groups *groups,
                                    msim_error *err);
/* Add a map of the corpus: the rows, at length 1, on the two axes on which they vary most. A piece
 * is one point, that of its first row. The same rows give the same map. A report has at most
 * one. */
MSIM_API int msim_report_add_map(msim_report *report, const msim_corpus *corpus, msim_error *err);
/* The same, but at places that the caller has computed, such as those of UMAP: points [n_points][2]
 * for the rows of the corpus, in their order. -MSIM_E_ARG when their number is another than that of
 * the rows, or when one is not finite. */
MSIM_API int msim_report_add_layout(msim_report *report, const msim_corpus *corpus,
                                    const float *points, int64_t n_points, msim_error *err);

typedef struct {
    size_t size;                   /* sizeof(msim_report_info), set by the caller (R6) */
    int64_t pieces, without_notes; /* shown; of these, pieces of which only the name is known */
    int64_t queries, matches, groups, points;
    int64_t not_found; /* of those without notes, pieces that had to be found by their name */
} msim_report_info;
MSIM_API int msim_report_get_info(const msim_report *report, msim_report_info *out);
/* Write the report as it is now. The bytes go to a temporary file, which then replaces an existing
 * `path`. A file that is no HTML page is not replaced: MSIM_E_ARG. More may be added afterwards,
 * and the report written again. */
MSIM_API int msim_report_write(const msim_report *report, const char *path, msim_error *err);

/* Receives bytes, which are borrowed until this function returns. Return 0 to go on; any other
 * value ends the call. */
typedef int (*msim_bytes_sink)(void *user, const void *bytes, size_t n_bytes);
/* Give what the page of a report reads, as one JSON object: docs/FORMATS.md, Reports. A program
 * with a page of its own needs no file. -MSIM_E_STOPPED when sink ended the call. */
MSIM_API int msim_report_write_json(const msim_report *report, msim_bytes_sink sink, void *user,
                                    msim_error *err);

/* ---- Context: one caller's working memory and threads ---------------------------------------- */

typedef struct msim_context msim_context;

/* `model` may be NULL for a context that only searches. */
MSIM_API int msim_context_open(const msim_model *model, const msim_options *options,
                               msim_context **out, msim_error *err);
MSIM_API void msim_context_close(msim_context *ctx);

/* Embed n_seq sequences into out [n_seq, dim]. Sequence i is ids[starts[i] .. starts[i + 1]), and
 * starts[0] is 0. class_weights NULL means the plain mean over tokens; else it has one weight per
 * class of token ids, [n_classes of the model]. midisim's models have three classes: start times,
 * durations and pitches. midisimx's have four: start times, pitches, durations and chords; its
 * published corpora have 1, 2, 1, 2. The vectors are not normalised. An empty sequence gives zeros.
 * The same sequence gives the same bits, whatever else is in the batch. */
MSIM_API int msim_context_embed(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                                size_t n_seq, const float *class_weights, float *out,
                                msim_error *err);
/* msim_context_embed in two steps, so that a device can work on one batch while the caller prepares
 * the next. The results are those of msim_context_embed, to the bit. On the CPU, submit does all
 * the work.
 *
 * submit starts a batch. The caller may reuse ids, starts and class_weights as soon as it returns.
 * `out` is complete when the wait that finishes this batch returns. At most MSIM_BATCHES_UNDER_WAY
 * batches may be under way; one more is -MSIM_E_LIMIT. A batch that submit refuses is not under
 * way.
 *
 * wait finishes the oldest batch. It is -MSIM_E_ARG when no batch is under way. After any other
 * error that batch is gone and its `out` is untouched.
 *
 * While a batch is under way, msim_context_stats and msim_context_close are the only other calls
 * allowed; the rest are -MSIM_E_ARG. close drops the batches. */
enum { MSIM_BATCHES_UNDER_WAY = 2 };
MSIM_API int msim_context_embed_submit(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                                       size_t n_seq, const float *class_weights, float *out,
                                       msim_error *err);
MSIM_API int msim_context_embed_wait(msim_context *ctx, msim_error *err);
/* Compute the vectors before pooling, one per token: out [starts[n_seq], dim]. */
MSIM_API int msim_context_embed_tokens(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                                       size_t n_seq, float *out, msim_error *err);
/* Scale n rows [n, dim] to length 1 in place: row / max(norm, 1e-12), in f32. */
MSIM_API void msim_l2_normalize(float *rows, size_t n, size_t dim);

/* Stages of a forward pass that are timed. */
enum msim_stage {
    MSIM_STAGE_NORM = 0,   /* token rows and norms */
    MSIM_STAGE_PROJECTION, /* q, k and v with their rotary, and the attention's output */
    MSIM_STAGE_ATTENTION,
    MSIM_STAGE_FEED_FORWARD,
    MSIM_STAGE_POOLING,
    MSIM_STAGE_COUNT
};
/* "norms", "projections", ...; NULL for an unknown value. */
MSIM_API const char *msim_stage_name(int stage);

typedef struct {
    size_t size;               /* sizeof(msim_stats), set by the caller (R6) */
    int64_t tokens, sequences; /* embedded so far */
    double embed_seconds;      /* wall time inside embed */
    double search_seconds;     /* wall time inside search */
    int64_t rows_scored;       /* rows x queries scored so far */
    int64_t rows_nonfinite;    /* rows of the last search with NaN or infinity, excluded rows
                                * included */
    int64_t rows_evaluated;    /* row x query scores that the last search computed in double */
    int scan;                  /* msim_scan of the last search; 0 before any */
    int search_device;         /* msim_device that searches, never AUTO */
    double stage_seconds[MSIM_STAGE_COUNT]; /* time in each stage, summed over threads; 0 when a
                                             * device does not measure it */
} msim_stats;

MSIM_API int msim_context_stats(const msim_context *ctx, msim_stats *out);

/* ---- Writing a corpus ------------------------------------------------------------------------ */

typedef struct msim_corpus_writer msim_corpus_writer;

typedef struct {
    size_t size; /* sizeof(msim_corpus_layout), set by the caller (R6) */
    int64_t rows, dim;
    int64_t name_chars;       /* STRUCTURED: code points of the longest name, at least 1 is used;
                               * other formats ignore it */
    int dtype;                /* msim_dtype, one that the format allows */
    int format;               /* msim_format */
    const char *name_field;   /* STRUCTURED, PICKLED: NULL is "midi_names" */
    const char *vector_field; /* STRUCTURED, PICKLED: NULL is "midi_embeddings" */
} msim_corpus_layout;

/* Write a corpus: open, add each row, finish, close. Formats without names also get PATH.names, one
 * name per line; there a name with a newline is refused. The bytes go to temporary files beside
 * `path`, which finish renames. close without finish removes them.
 *
 * Exactly layout->rows rows must be added. A finite number that the stored type cannot hold is
 * refused; NaN and infinity are stored. add allocates nothing. One thread at a time may use a
 * writer. */
MSIM_API int msim_corpus_writer_open(const char *path, const msim_corpus_layout *layout,
                                     msim_corpus_writer **out, msim_error *err);
MSIM_API int msim_corpus_writer_add(msim_corpus_writer *w, const char *name, size_t name_bytes,
                                    const float *row, msim_error *err);
MSIM_API int msim_corpus_writer_finish(msim_corpus_writer *w, msim_error *err);
MSIM_API void msim_corpus_writer_close(msim_corpus_writer *w);
/* 1 when the format can store rows of this type, else 0. */
MSIM_API int msim_format_has_dtype(int format, int dtype);
/* Code points that a name takes in a '<U' field. Each byte that is not UTF-8 counts as one. */
MSIM_API int64_t msim_name_chars(const char *name, size_t name_bytes);

/* ---- Codes: quantised rows, with which an exact search reads less ---------------------------- */

/* Write the codes of one part of a corpus. `scan` is MSIM_SCAN_INT8 (528 bytes per row of width
 * 512) or MSIM_SCAN_BF16 (1,032). The tools name the file CORPUS.npy.msim. If codes_path already
 * has the other codes of the same rows, they are kept. The bytes go to a temporary file, which then
 * replaces an existing codes_path.
 *
 * The bytes depend on the corpus file alone, not on machine, level or threads. threads 0 means one
 * per processor. `progress` may be NULL. The library calls it now and then on this thread, with the
 * rows done and the rows in all. When it returns non-zero, the call fails with -MSIM_E_STOPPED and
 * writes nothing. */
MSIM_API int msim_corpus_write_codes(const msim_corpus *corpus, int64_t part,
                                     const char *codes_path, int scan, int threads,
                                     int (*progress)(void *user, int64_t done, int64_t all),
                                     void *user, msim_error *err);
/* Attach a file of codes to a part. Do this before msim_context_load_corpus, and never while a
 * context has the corpus loaded. To check the file, 64 tiles of 16 rows are made anew from the rows
 * and compared. All tiles are compared if is_full is set, or if size or time of the corpus file are
 * not what they were when the codes were written. -MSIM_E_FORMAT means that the file is damaged or
 * has the codes of other rows: write it again. */
MSIM_API int msim_corpus_attach_codes(msim_corpus *corpus, int64_t part, const char *codes_path,
                                      int is_full, msim_error *err);
/* 1 when the codes that are attached to a part serve this msim_scan, else 0. */
MSIM_API int msim_corpus_has_codes(const msim_corpus *corpus, int64_t part, int scan);

/* ---- Search ---------------------------------------------------------------------------------- */

/* Load a corpus into a context, in place of an earlier one. The earlier one is also gone when
 * loading fails because of memory or the device. The corpus must stay open while the context uses
 * it. */
MSIM_API int msim_context_load_corpus(msim_context *ctx, const msim_corpus *corpus,
                                      msim_error *err);
/* Load only rows first .. first + n - 1. Results keep the row numbers of the whole corpus. Several
 * processes can share the work like this: their results, merged by score and row, are those of one
 * process. */
MSIM_API int msim_context_load_rows(msim_context *ctx, const msim_corpus *corpus, int64_t first,
                                    int64_t n, msim_error *err);

/* Find the k rows with the highest cosine for each of n_query queries [n_query, dim], exactly.
 * Results go into rows and scores, [n_query, k] each, best first. Scores are computed in double in
 * one fixed order, and of equal scores the lower row comes first. So results are the same on every
 * device, level and thread count, and with every scan. A row of zeros scores 0. Rows with NaN or
 * infinity score -infinity and come after all others. Returns the results per query: min(k,
 * rows). Queries are taken as they are: for a whitened corpus, see msim_whitening_apply. */
MSIM_API int64_t msim_context_search(msim_context *ctx, const float *queries, size_t n_query,
                                     int64_t k, int64_t *rows, double *scores, msim_error *err);
/* As msim_context_search, with options; NULL means the defaults. Returns the results per query:
 * min(k, rows that are not excluded). Those of query q start at rows + q * k. Excluded rows that
 * are not loaded are ignored. */
MSIM_API int64_t msim_context_search_with(msim_context *ctx, const msim_search_options *options,
                                          const float *queries, size_t n_query, int64_t k,
                                          int64_t *rows, double *scores, msim_error *err);

/* Pass every row with score >= threshold to `sink`, in no particular order. Both numbers are
 * compared as doubles; rows with NaN or infinity are never passed on. Returns how many hits sink
 * received, over all queries, also when sink ended the search. Hits that sink received before an
 * error remain valid. sink must not use the context. */
MSIM_API int64_t msim_context_search_above(msim_context *ctx, const msim_search_options *options,
                                           const float *queries, size_t n_query, double threshold,
                                           msim_hit_sink sink, void *user, msim_error *err);

/* ---- Join: all pairs of rows that are alike -------------------------------------------------- */

/* Receives one pair: row `a`, row `b` and their score. Return 0 to go on; any other value ends the
 * join, which then succeeds. The library calls this function on the thread that called msim_join,
 * in order of a and of b. */
typedef int (*msim_join_sink)(void *user, int64_t a, int64_t b, double score);

/* Start from msim_join_options_default(). */
typedef struct {
    size_t size;                 /* sizeof(msim_join_options), set by the caller (R6) */
    const msim_options *options; /* isa, threads, device and gpu count; NULL: the defaults. With
                                  * device CUDA the first GPU that gpu names compares the codes and
                                  * the CPU scores what they leave over; AUTO is the CPU. The pairs
                                  * and their scores are the same */
    int scan; /* msim_scan: AUTO or INT8 leave pairs out by codes, which the join makes itself; F64
               * scores every pair in double, on the CPU alone. The pairs are the same */
    int64_t shard, n_shards; /* join only one shard of the left rows, 1..n_shards. The hits of all
                              * shards, one after the other, are those of the whole; n_shards 0: all
                              * rows */
    int64_t memory_bytes;    /* for hits that wait to be put in order (default 256 MiB). Further
                              * ones go to a temporary file */
    const char *folder;      /* of that file, which has no name there (default "/tmp") */
    /* Called on the thread that called msim_join, before and after each 4,096 rows, with the pairs
     * done and all of them (of this rank). Any return value but 0 stops the join with
     * -MSIM_E_STOPPED. NULL: none. */
    int (*progress)(void *user, int64_t done, int64_t all);
    /* Called often on the same thread; non-zero stops the join likewise. NULL: none. */
    int (*should_stop)(void *user);
    void *user;              /* passed to progress and should_stop */
    const msim_ranks *ranks; /* NULL: this process alone. Else every rank joins the same corpora
                              * with the same threshold and shard; each takes a part of the left
                              * rows. Rank 0's sink gets all pairs, in order; the others' get
                              * none, and their calls return 0 */
} msim_join_options;

/* Fill in the defaults. The caller sets options->size first. */
MSIM_API void msim_join_options_init(msim_join_options *options);
static inline msim_join_options msim_join_options_default(void) {
    msim_join_options options;
    options.size = sizeof options;
    msim_join_options_init(&options);
    return options;
}

/* What a join did. */
typedef struct {
    size_t size;            /* sizeof(msim_join_stats), set by the caller (R6) */
    int64_t pairs;          /* compared */
    int64_t scored;         /* of these, in double; the codes left out the others */
    int64_t hits;           /* passed on */
    int64_t spilled;        /* hits that went through the temporary file */
    int64_t rows_nonfinite; /* rows with NaN or infinity, which are in no pair */
    int64_t components;     /* of the codes; 0: there were none */
    int is_mapped;          /* 1: codes are of a map of the rows; 0: of the rows' own components */
    double prepare_seconds; /* making the codes */
    double join_seconds;
} msim_join_stats;

/* Find all pairs of rows whose cosine is at least `threshold`, exactly: rows a < b of one corpus
 * (b NULL), or each row of a with each row of b. Scores have the bits that msim_context_search
 * gives for one of the rows as the query, and are compared as doubles. A row of zeros scores 0.
 * Rows with NaN or infinity are in no pair. Rows of f64 are refused with -MSIM_E_UNSUPPORTED.
 *
 * Memory: components + 16 bytes per row and memory_bytes; with device CUDA also up to 64 MiB of
 * pinned memory and as much of the device's. The calls of `sink` begin when the first
 * 4,096 rows are joined. stats may be NULL. Returns the number of pairs that sink received; pairs
 * that it received before an error remain valid. docs/SEARCH.md, Joins. */
MSIM_API int64_t msim_join(const msim_corpus *a, const msim_corpus *b, double threshold,
                           const msim_join_options *options, msim_join_sink sink, void *user,
                           msim_join_stats *stats, msim_error *err);

#ifdef __cplusplus
}
#endif
#endif
