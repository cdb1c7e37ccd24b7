/* midisim-convert: checkpoints to safetensors, corpora of any format into any other, shards into
 * one corpus, and what a file holds. This file parses and chooses; convert/corpus.c and
 * convert/info.c do the rest. Data go to standard output, everything else to standard error. */
#define _GNU_SOURCE
#include "convert.h"
#include "base/file.h"
#include "common/fits/prior.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ms_convert_settings s = {.dtype = -1,
                                .format = -1,
                                .prior_rows = MSIM_WHITENING_PRIOR_ROWS,
                                .nuisance_weight = MSIM_WHITENING_NUISANCE};
_Static_assert(MSIM_WHITENING_NUISANCE == 100.0, "as the help says");

#define AT(field) .offset = offsetof(ms_convert_settings, field)
static const ms_cli_option options[] = {
    {.name = "form",
     .kind = MS_CLI_CHOICE,
     .value = "FORMAT",
     .choices = "structured|plain|pickled|fvecs|fbin",
     AT(format),
     .help = "write a corpus in this format: structured (.npy, mapped at once), plain (.npy of two "
             "axes), pickled (as the Python package saves it), fvecs or fbin. Plain, fvecs and "
             "fbin put the names into OUT.names",
     .brief = "write a corpus in this format (list: --help)"},
    {.name = "dtype",
     .kind = MS_CLI_CHOICE,
     .value = "TYPE",
     .choices = "f32|f16|bf16",
     AT(dtype),
     .help = "how numbers are stored. Corpora: f32 or f16 in structured and pickled, also bf16 in "
             "plain, only f32 in fvecs and fbin (default: as they are, else f32). Checkpoints: f32 "
             "(default; loses nothing), or bf16, half the size, with the same results under "
             "--precision bf16"},
    {.name = "merge",
     .kind = MS_CLI_FLAG,
     AT(is_merge),
     .help = "write the rows of all SHARDs in bytewise order of name, as one run of midisim-embed "
             "would have written them",
     .brief = "join the shards of a corpus"},
    {.name = "whiten",
     .kind = MS_CLI_FLAG,
     AT(is_whitened),
     .help =
         "write the whitened rows of CORPUS, which rank better: a linear map, fitted on the rows "
         "and kept in OUT.json, takes away what all pieces share. midisim-search then whitens "
         "its queries by itself",
     .brief = "write the whitened rows of a corpus, which rank better"},
    {.name = "fit-only",
     .kind = MS_CLI_FLAG,
     AT(is_fit_only),
     .help = "write the fit alone, as OUT.whiten, for --whiten-fit and --prior-fit"},
    {.name = "whiten-fit",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     AT(whiten_fit),
     .help = "with --whiten: take the map from this fit as it is, instead of fitting the rows"},
    MS_CLI_ROW_PRIOR_FIT(ms_convert_settings),
    MS_CLI_ROW_PRIOR_ROWS(ms_convert_settings),
    {.name = "altered",
     .kind = MS_CLI_TEXTS,
     .value = "COPIES",
     AT(altered),
     .help = "a new fit learns what does not matter from altered copies: the rows of COPIES, a "
             "corpus, bear the names of the rows of CORPUS that they are copies of. May be "
             "repeated"},
    {.name = "nuisance",
     .kind = MS_CLI_REAL,
     .value = "W",
     AT(nuisance_weight),
     .help = "how much what altered copies differ in weighs against all differences, 0 to 1e6 "
             "(default 100)"},
    {.name = "output",
     .letter = 'o',
     .kind = MS_CLI_TEXT,
     .value = "OUT",
     AT(out),
     .help = "the file to write, instead of the last argument"},
    {.name = "names-file",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     AT(names_file),
     .help = "the names of rows that have none, one per line (default: CORPUS.names if it exists)"},
    MS_CLI_ROW_NAME_FIELD(ms_convert_settings),
    MS_CLI_ROW_VECTOR_FIELD(ms_convert_settings),
    {.name = "keep-nonfinite",
     .kind = MS_CLI_FLAG,
     AT(keeps_nonfinite),
     .help = "keep rows with NaN or infinity; without it they are an error"},
    {.name = "force",
     .kind = MS_CLI_FLAG,
     AT(is_forced),
     .help = "replace an existing OUT, and go on when the descriptions of several corpora differ",
     .brief = "replace an existing file"},
    {.name = "info",
     .kind = MS_CLI_FLAG,
     AT(is_info),
     .help = "say what each FILE holds: a checkpoint (.pth, .safetensors), a corpus of any format, "
             "or a folder of corpora",
     .brief = "say what each FILE holds"},
    {.name = "verify",
     .kind = MS_CLI_FLAG,
     AT(is_verify),
     .help = "read all of each FILE and check sizes, numbers and names",
     .brief = "read and check all of each FILE"},
    {.name = "json",
     .kind = MS_CLI_FLAG,
     AT(is_json),
     .help = "with --info or --verify: print one JSON object per file"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-convert model.pth model.safetensors", "a checkpoint of the original, all bits kept"},
    {"midisim-convert --dtype bf16 model.pth small.safetensors", "half the size"},
    {"midisim-convert --form structured original.npy corpus.npy",
     "a pickled corpus of the original, to be mapped from now on"},
    {"midisim-convert --form pickled corpus.npy original.npy",
     "and back, for the original to load"},
    {"midisim-convert --merge shard-*.npy -o corpus.npy", "the shards of an array job"},
    {"midisim-convert --whiten corpus.npy white.npy", "rows that rank better"},
    {"midisim-convert --info model.safetensors corpus.npy", "sizes, types, where it comes from"},
    {"midisim-convert --verify corpus.npy", "read every row"},
    {NULL, NULL}};

static const ms_cli_tool tool = {
    .name = "midisim-convert",
    .purpose = "Converts, merges, describes and checks models and corpora.",
    .summary = "convert, merge, describe and verify midisim checkpoints and corpora",
    .usage = "[--dtype f32|bf16] [--force] MODEL.pth OUT.safetensors\n"
             "--form FORMAT [--dtype TYPE] [--force] CORPUS... OUT\n"
             "--merge [--form FORMAT] [--dtype TYPE] [--force] SHARD... -o CORPUS.npy\n"
             "--whiten | --fit-only [--prior-fit FILE|none] [--force] CORPUS OUT\n"
             "--info | --verify [--json] FILE...",
    .description =
        "Without --form and --merge, writes a checkpoint as safetensors. The source is a .pth file "
        "of either kind or a safetensors file; nothing in it is executed. The names of tensors "
        "stay; the metadata hold the sizes and the SHA-256 of the source.\n\n"
        "With --form, writes a corpus in another format. CORPUS is a file of any format or a "
        "folder of such files; several are joined. The corpus may be larger than memory. Its "
        "description (CORPUS.npy.json) is carried over. The output appears whole or not at all.",
    .examples = examples,
    .options = options,
    .has_no_threads = true,
    .exits =
        "a file cannot be read, is damaged or of another kind, a row is not finite, or the output "
        "could not be written",
};

static bool given(const char *name) { return ms_cli_given(&tool, &s, name); }

/* < 0, having said it, when something stands where the output goes. */
static int check_place(const char *to, const char *suffix) {
    char path[4352];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s%s", to, suffix) >= sizeof path)
        return ms_cli_usage("path too long: %.80s...", to);
    if (lstat(path, &st) != 0 || s.is_forced) return 0;
    ms_cli_error("exists already: %s: --force replaces it", path);
    return -MSIM_E_ARG;
}

/* < 0, having said it, when there is no room for the ending that put_in_place needs for a while. */
static int check_name(const char *to) {
    char ending[64];
    msim_error err;
    snprintf(ending, sizeof ending, MS_CONVERT_ASIDE, (long)getpid());
    if (ms_file_check_name(to, ending, &err) >= 0) return 0;
    ms_cli_error("%s", err.text);
    return -MSIM_E_ARG;
}

static int convert_checkpoint(const char *from, const char *to) {
    msim_error err = {0};
    int rc = msim_checkpoint_convert(
        from, to, s.dtype == MSIM_DTYPE_BF16 ? MSIM_DTYPE_BF16 : MSIM_DTYPE_F32, &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        return ms_cli_as_failure(rc);
    }
    msim_checkpoint_info i = {.size = sizeof i};
    if (!s.common.quiet && msim_checkpoint_get_info(to, &i, &err) >= 0) {
        char parameters[32];
        ms_cli_note("%s: %s, width %lld, %lld blocks, %lld heads, %s parameters, %s", to, i.family,
                    (long long)i.dim, (long long)i.depth, (long long)i.heads,
                    ms_cli_count(parameters, i.parameters),
                    s.dtype == MSIM_DTYPE_BF16 ? "bf16" : "f32");
    }
    return 0;
}

/* < 0, having said it, for a wrong combination for a corpus. */
static int check_corpus_options(void) {
    int format = s.format < 0 ? MSIM_FORMAT_STRUCTURED : s.format;
    if (s.dtype >= 0 && !msim_format_has_dtype(format, s.dtype))
        return ms_cli_usage(
            "--dtype: expected %s for --form %s, got %s",
            format == MSIM_FORMAT_FVECS || format == MSIM_FORMAT_FBIN ? "f32" : "f32 or f16",
            msim_format_name(format), msim_dtype_name(s.dtype));
    if ((s.name_field || s.vector_field) && format != MSIM_FORMAT_STRUCTURED &&
        format != MSIM_FORMAT_PICKLED)
        return ms_cli_usage("--name-field, --vector-field: the %s format has no fields: give "
                            "--form structured or pickled",
                            msim_format_name(format));
    return 0;
}

static bool is_whitening(void) { return s.is_whitened || s.is_fit_only; }

/* < 0, having said it, for a wrong combination with --whiten or --fit-only, or for their options
 * without them. */
static int check_whitening_options(void) {
    if (s.is_whitened && s.is_fit_only)
        return ms_cli_usage("--whiten and --fit-only cannot be combined: give one of them");
    if (s.whiten_fit && !s.is_whitened)
        return ms_cli_usage("--whiten-fit is for --whiten: give that too");
    if ((s.prior_fit || given("prior-rows")) && (!is_whitening() || s.whiten_fit))
        return ms_cli_usage("--prior-fit, --prior-rows: these are for a new fit: give --whiten or "
                            "--fit-only, without --whiten-fit");
    if ((s.altered.n || given("nuisance")) && (!is_whitening() || s.whiten_fit))
        return ms_cli_usage("--altered, --nuisance: these are for a new fit: give --whiten or "
                            "--fit-only, without --whiten-fit");
    if (!(s.nuisance_weight >= 0.0 && s.nuisance_weight <= MSIM_WHITENING_MOST_NUISANCE))
        return ms_cli_usage("--nuisance: expected 0 to %g, got %g", MSIM_WHITENING_MOST_NUISANCE,
                            s.nuisance_weight);
    if (is_whitening() &&
        (s.is_merge || s.format >= 0 || s.dtype >= 0 || s.name_field || s.vector_field))
        return ms_cli_usage("--whiten and --fit-only write one format: leave out --merge, --form, "
                            "--dtype, --name-field and --vector-field");
    return 0;
}

static int do_convert(const ms_cli_texts *inputs, const char *out) {
    ms_cli_catch_signals();
    return is_whitening()                ? ms_convert_whiten(&s, inputs, out)
           : s.is_merge || s.format >= 0 ? ms_convert_corpus(&s, inputs, out)
                                         : convert_checkpoint(inputs->items[0], out);
}

static int convert(const ms_cli_texts *files) {
    bool is_corpus = s.is_merge || s.format >= 0 || is_whitening();
    if (check_whitening_options() < 0) return -MSIM_E_ARG;
    if (s.is_merge && !s.out) return ms_cli_usage("--merge: no output: give -o CORPUS.npy");
    size_t n_inputs = files->n - (s.out || !files->n ? 0 : 1);
    const char *out = s.out ? s.out : files->n ? files->items[files->n - 1] : NULL;
    if (!out || n_inputs < 1 || (!is_corpus && n_inputs != 1))
        return ms_cli_usage("wrong number of arguments (%zu): give %s", files->n,
                            is_corpus ? "CORPUS and OUT" : "MODEL.pth and OUT.safetensors");
    ms_cli_texts inputs = *files;
    inputs.n = n_inputs;
    if (!is_corpus && ms_convert_is_corpus(files->items[0]))
        return ms_cli_usage("%s is a corpus: give --form to convert it", files->items[0]);
    if (!is_corpus && s.dtype == MSIM_DTYPE_F16)
        return ms_cli_usage("--dtype: expected f32 or bf16 for a checkpoint, got f16");
    if (!is_corpus && (s.names_file || s.name_field || s.vector_field || s.keeps_nonfinite))
        return ms_cli_usage("--names-file, --name-field, --vector-field, --keep-nonfinite: these "
                            "are for corpora: give --form or --merge too");
    int rc = is_corpus ? check_corpus_options() : 0;
    if (rc >= 0) rc = check_place(out, "");
    if (rc >= 0 && is_corpus && s.format >= 0 && s.format != MSIM_FORMAT_STRUCTURED &&
        s.format != MSIM_FORMAT_PICKLED)
        rc = check_place(out, ".names");
    if (rc >= 0 && is_corpus) rc = check_name(out);
    return rc < 0 ? rc : do_convert(&inputs, out);
}

static int run(void) {
    const ms_cli_texts *files = &s.common.operands;
    bool describes = s.is_info || s.is_verify;
    if (s.is_json && !describes)
        return ms_cli_usage("--json is for --info and --verify: give one of them too");
    if (!describes) return convert(files);
    if (s.is_merge || s.is_forced || s.out || s.name_field || s.vector_field || s.keeps_nonfinite ||
        given("form") || given("dtype") || is_whitening() || s.whiten_fit || s.prior_fit)
        return ms_cli_usage("--info and --verify take only --json and --names-file beside them");
    if (files->n == 0) return ms_cli_usage("no input: give a FILE");
    ms_cli_catch_signals();
    return ms_convert_describe(&s, files);
}

int main(int argc, char **argv) {
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    return ms_cli_finish(rc == 0 ? run() : rc);
}
