/* Memory of the devices. Each allocation is a mapping of its own in a reserved range of addresses,
 * with its end against a page that cannot be touched, begins at a multiple of 256 and holds 0xff;
 * the host cannot touch any of it. Up to 255 guard bytes lie between its last byte and that page;
 * they are looked at after every launch. Each device has a limit (EMU_MEMORY). Used under the lock
 * of emu_stream.cpp. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

#include "emu.h"
#include "emu_runtime.h"

#if defined(EMU_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace emu {

int running_device;
static int n_open; /* uses of Open under way */

namespace {

const size_t RANGE = (size_t)1 << 36, PAGE = 4096, ALIGN = 256;
enum { GUARD_BYTE = 0xfd, POISON = 0xff };

struct Block {
    unsigned char *first_page, *first; /* of the mapping, of the allocation */
    size_t n_pages_bytes, n_bytes, serial;
    int device;
};
std::map<unsigned char *, Block> blocks; /* by first byte */
unsigned char *range, *unused;           /* the reserved addresses, and the first not yet used */
size_t used_bytes[MAX_DEVICES], n_serial;
/* The last allocation seen at each page, modulo a number. */
struct Seen {
    unsigned char *first;
    size_t n_bytes;
    const Block *block;
} seen[1024];

void reserve() {
    if (range) return;
    void *p = mmap(nullptr, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail({__FILE__, __LINE__}, "no address space for the devices");
    range = unused = (unsigned char *)p;
}

/* The allocation that holds p. */
const Block *find(const void *p) {
    unsigned char *at = (unsigned char *)p;
    Seen *s = &seen[(uintptr_t)p / PAGE % 1024];
    if ((size_t)(at - s->first) < s->n_bytes) return s->block;
    auto it = blocks.upper_bound(at);
    if (it == blocks.begin()) return nullptr;
    --it;
    if ((size_t)(at - it->first) >= it->second.n_bytes) return nullptr;
    *s = {it->first, it->second.n_bytes, &it->second};
    return s->block;
}

} // namespace

/* Outside of work on it device memory cannot be touched: on a GPU the host cannot either. */
static void protect(int how) {
    for (auto &entry : blocks) mprotect(entry.second.first_page, entry.second.n_pages_bytes, how);
}

Open::Open() {
    if (!n_open++) protect(PROT_READ | PROT_WRITE);
}

Open::~Open() {
    if (!--n_open) protect(PROT_NONE);
}

size_t memory_limit() {
    static const size_t bytes = setting("EMU_MEMORY", (uint64_t)1 << 30);
    return bytes;
}

size_t memory_free(int device) { return memory_limit() - used_bytes[device]; }

/* What there is of an allocation: multiples of 512 on a GPU too. */
static size_t charged(size_t n_bytes) { return (n_bytes + 511) / 512 * 512; }

void *memory_take(int device, size_t n_bytes) {
    reserve();
    if (!n_bytes || n_bytes > memory_limit() || charged(n_bytes) > memory_free(device))
        return nullptr;
    size_t rounded = (n_bytes + ALIGN - 1) / ALIGN * ALIGN,
           pages = (rounded + PAGE - 1) / PAGE * PAGE;
    if ((size_t)(range + RANGE - unused) < pages + PAGE)
        fail({__FILE__, __LINE__}, "out of addresses for device memory");
    Open open;
    Block b = {unused, unused + pages - rounded, pages, n_bytes, ++n_serial, device};
    if (mprotect(b.first_page, pages, PROT_READ | PROT_WRITE)) return nullptr;
    unused += pages + PAGE;
    unsigned char *p = b.first;
    memset(p, POISON, n_bytes);
    memset(p + n_bytes, GUARD_BYTE, rounded - n_bytes);
    ASAN_POISON_MEMORY_REGION(p + n_bytes, rounded - n_bytes);
    ASAN_POISON_MEMORY_REGION(b.first_page, (size_t)(p - b.first_page));
    blocks[p] = b;
    used_bytes[device] += charged(n_bytes);
    race_global_reset(p, 0);
    return p;
}

/* Addresses are not used again: a late access of freed memory is always seen. */
bool memory_give(void *p) {
    auto it = blocks.find((unsigned char *)p);
    if (it == blocks.end()) return false;
    Open open;
    Block b = it->second;
    check_guards(b.device);
    ASAN_UNPOISON_MEMORY_REGION(b.first_page, b.n_pages_bytes);
    mmap(b.first_page, b.n_pages_bytes, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    used_bytes[b.device] -= charged(b.n_bytes);
    memset(seen, 0, sizeof seen);
    blocks.erase(it);
    return true;
}

size_t memory_count() { return blocks.size(); }

int device_of(const void *p) {
    const Block *b = find(p);
    return b ? b->device : -1;
}

bool in_device_range(const void *p) {
    return range && (size_t)((const unsigned char *)p - range) < RANGE;
}

size_t device_offset(const void *p) { return (size_t)((const unsigned char *)p - range); }
size_t device_range_bytes() { return RANGE; }

bool in_device_memory(const void *p, size_t n_bytes, int device) {
    const Block *b = find(p);
    return b && (size_t)((const unsigned char *)p - b->first) + n_bytes <= b->n_bytes &&
           (device < 0 || device == b->device);
}

const char *describe_device(const void *p) {
    static char text[256];
    unsigned char *at = (unsigned char *)p;
    if (!in_device_range(p)) return "memory that is not the device's";
    auto it = blocks.upper_bound(at);
    const Block *b = nullptr;
    long long offset = 0;
    if (it != blocks.begin()) {
        auto before = it;
        --before;
        if (at < before->second.first_page + before->second.n_pages_bytes + PAGE)
            b = &before->second, offset = at - before->first;
    }
    if (!b && it != blocks.end() && at >= it->second.first_page - PAGE)
        b = &it->second, offset = at - it->first;
    if (!b) return "device memory that is not allocated (any more)";
    snprintf(text, sizeof text, "byte %lld of allocation %zu, of %zu bytes on device %d", offset,
             b->serial, b->n_bytes, b->device);
    return text;
}

void check_global(const void *p, size_t n_bytes, const char *what, Place at) {
    if (in_device_memory(p, n_bytes, running_device)) return;
    fail(at, "%s: %zu bytes from %s", what, n_bytes, describe_device(p));
}

void check_guards(int device) {
    for (auto &entry : blocks) {
        const Block &b = entry.second;
        if (b.device != device) continue;
        size_t rounded = (b.n_bytes + ALIGN - 1) / ALIGN * ALIGN;
        ASAN_UNPOISON_MEMORY_REGION(entry.first + b.n_bytes, rounded - b.n_bytes);
        for (size_t i = b.n_bytes; i < rounded; i++) {
            if (entry.first[i] == GUARD_BYTE) continue;
            now = nullptr;
            fail({"device memory", 0},
                 "written: byte %zu of allocation %zu, of %zu bytes (seen at the launch's end)", i,
                 b.serial, b.n_bytes);
        }
        ASAN_POISON_MEMORY_REGION(entry.first + b.n_bytes, rounded - b.n_bytes);
    }
}

} // namespace emu

using namespace emu;

extern "C" void emu_load_once(void *to, const void *at, size_t n_bytes, const char *file,
                              int line) {
    Place place = {file, line};
    if ((uintptr_t)at % n_bytes)
        fail(place, "load_once%zu: not a multiple of %zu", n_bytes, n_bytes);
    check_global(at, n_bytes, "load_once", place);
    race_global(at, n_bytes, false, false, place);
    memcpy(to, at, n_bytes);
}

template <typename Change> static uint32_t change(uint32_t *at, Place place, Change next) {
    if ((uintptr_t)at % 4) fail(place, "atomic operation: not a multiple of 4");
    if (in_arena(at)) {
        check_shared(at, 4, "atomic operation", place);
        check_landed(at, 4, place);
        race_shared(at, 4, true, true, place);
    } else {
        check_global(at, 4, "atomic operation", place);
        race_global(at, 4, true, true, place);
    }
    uint32_t before = *at;
    *at = next(before);
    return before;
}

extern "C" uint32_t emu_atomic_add(uint32_t *at, uint32_t v, const char *file, int line) {
    return change(at, {file, line}, [v](uint32_t x) { return x + v; });
}

extern "C" uint32_t emu_atomic_max(uint32_t *at, uint32_t v, const char *file, int line) {
    return change(at, {file, line}, [v](uint32_t x) { return x < v ? v : x; });
}
