/* What a file is by its first bytes: msim_file_kind and msim_midi_find of midisim.h. */
#include <midisim.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define RIFF_HEADER_BYTES 12
#define RIFF_CHUNK_HEADER_BYTES 8

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_riff_of(const uint8_t *file, size_t n_bytes, const char *type) {
    return n_bytes >= RIFF_HEADER_BYTES && memcmp(file, "RIFF", 4) == 0 &&
           memcmp(file + 8, type, 4) == 0;
}

/* Source: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (1991). */
size_t msim_midi_find(const void *bytes, size_t n_bytes, size_t *n_midi) {
    const uint8_t *file = bytes;
    size_t at = RIFF_HEADER_BYTES;
    *n_midi = n_bytes;
    if (!is_riff_of(file, n_bytes, "RMID")) return 0;
    while (n_bytes - at >= RIFF_CHUNK_HEADER_BYTES) {
        size_t length = le32(file + at + 4), left = n_bytes - at - RIFF_CHUNK_HEADER_BYTES;
        bool is_data = memcmp(file + at, "data", 4) == 0;
        at += RIFF_CHUNK_HEADER_BYTES;
        if (is_data) {
            *n_midi = length < left ? length : left;
            return at;
        }
        length += length & 1; /* chunks begin at even places */
        if (length > left) return 0;
        at += length;
    }
    return 0;
}

/* ---- Kinds ---- */

static const struct {
    int kind;
    const char *start;
    size_t n_start;
} starts[] = {
    {MSIM_KIND_MIDI, "MThd", 4},
    {MSIM_KIND_GZIP, "\x1f\x8b", 2},
    {MSIM_KIND_NPY, "\x93NUMPY", 6},
    {MSIM_KIND_ZIP, "PK\x03\x04", 4},
    {MSIM_KIND_ZIP, "PK\x05\x06", 4},
    {MSIM_KIND_ARCHIVE, "7z\xbc\xaf\x27\x1c", 6},
    {MSIM_KIND_ARCHIVE, "Rar!\x1a\x07", 6},
    {MSIM_KIND_ARCHIVE, "BZh", 3},
    {MSIM_KIND_ARCHIVE,
     "\xfd"
     "7zXZ",
     5},
    {MSIM_KIND_ARCHIVE, "\x28\xb5\x2f\xfd", 4},
    {MSIM_KIND_AUDIO, "ID3", 3},
    {MSIM_KIND_AUDIO, "fLaC", 4},
    {MSIM_KIND_AUDIO, "OggS", 4},
    {MSIM_KIND_PDF, "%PDF-", 5},
    {MSIM_KIND_MUS, "MUS\x1a", 4},
};

/* Text [n] starts with `word` in any letter case, behind blanks. */
static bool begins_with(const uint8_t *text, size_t n, const char *word) {
    size_t i = 0;
    while (i < n && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))) i++;
    for (; *word; word++, i++)
        if (i >= n || (text[i] | (text[i] >= 'A' && text[i] <= 'Z' ? 32 : 0)) != *word)
            return false;
    return true;
}

/* Text: no control characters but tab, newline, form feed and return in the first bytes. */
static bool is_text(const uint8_t *file, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((file[i] < 32 && (file[i] < '\t' || file[i] > '\r')) || file[i] == 127) return false;
    return true;
}

int msim_file_kind(const void *bytes, size_t n_bytes) {
    const uint8_t *file = bytes;
    size_t n = n_bytes < 512 ? n_bytes : 512;
    if (n == 0) return MSIM_KIND_EMPTY;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (n >= starts[i].n_start && memcmp(file, starts[i].start, starts[i].n_start) == 0)
            return starts[i].kind;
    if (is_riff_of(file, n, "RMID")) return MSIM_KIND_RMID;
    if (is_riff_of(file, n, "WAVE")) return MSIM_KIND_AUDIO;
    if (!is_text(file, n)) return MSIM_KIND_UNKNOWN;
    if (begins_with(file, n, "<!doctype html") || begins_with(file, n, "<html"))
        return MSIM_KIND_HTML;
    if (begins_with(file, n, "<?xml")) return MSIM_KIND_XML;
    if (begins_with(file, n, "{\"path\"")) return MSIM_KIND_TOKEN_LINES;
    return MSIM_KIND_TEXT;
}

const char *msim_file_kind_name(int kind) {
    switch (kind) {
    case MSIM_KIND_UNKNOWN: return "an unknown kind of file";
    case MSIM_KIND_EMPTY: return "an empty file";
    case MSIM_KIND_MIDI: return "a MIDI file";
    case MSIM_KIND_RMID: return "an RMID file without a MIDI file in it";
    case MSIM_KIND_GZIP: return "a gzip file";
    case MSIM_KIND_ZIP: return "a zip archive";
    case MSIM_KIND_ARCHIVE: return "a compressed archive";
    case MSIM_KIND_NPY: return "a NumPy array (.npy)";
    case MSIM_KIND_AUDIO: return "an audio recording";
    case MSIM_KIND_PDF: return "a PDF document";
    case MSIM_KIND_HTML: return "a web page";
    case MSIM_KIND_XML: return "an XML document (MusicXML is not read)";
    case MSIM_KIND_TOKEN_LINES: return "token lines of midisim-tokens";
    case MSIM_KIND_TEXT: return "a text file";
    case MSIM_KIND_MUS: return "a MUS file, as Doom has them (MUS is not read)";
    default: return NULL;
    }
}
