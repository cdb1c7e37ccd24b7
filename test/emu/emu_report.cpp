/* How the emulator speaks: one line, then the end of the process. Names of kernels and the lines of
 * instruction addresses come from addr2line (binutils); without it addresses are printed. */
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <link.h>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "emu.h"

namespace emu {

namespace {

/* Address in the program's file of an address in memory. */
int find_base(struct dl_phdr_info *info, size_t, void *out) {
    *(uintptr_t *)out = info->dlpi_addr;
    return 1; /* the program comes first */
}

/* "function\nfile:line" of an instruction, or "". */
std::string look_up(const void *code) {
    uintptr_t base = 0;
    char command[256], text[1024];
    std::string out;
    dl_iterate_phdr(find_base, &base);
    snprintf(command, sizeof command, "addr2line -Cfse /proc/%d/exe 0x%zx 2>/dev/null",
             (int)getpid(), (size_t)((uintptr_t)code - base));
    FILE *f = popen(command, "r");
    if (!f) return out;
    while (fgets(text, sizeof text, f)) out += text;
    pclose(f);
    return out;
}

std::string kernel_name() {
    std::string name = look_up(running->kernel);
    name = name.substr(0, name.find('\n'));
    size_t paren = name.find('(');
    if (paren != std::string::npos && name.compare(0, 1, "(")) name.resize(paren);
    if (name.compare(0, 5, "void ") == 0) name.erase(0, 5);
    if (name.empty() || name[0] == '?') {
        char text[32];
        snprintf(text, sizeof text, "kernel %p", running->kernel);
        return text;
    }
    return name;
}

const char *base_name(const char *file) {
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

[[noreturn]] void finish(const std::string &where, const char *format, va_list rest) {
    char what[1024];
    vsnprintf(what, sizeof what, format, rest);
    fflush(stdout);
    fprintf(stderr, "emu: ");
    if (running) fprintf(stderr, "%s: ", kernel_name().c_str());
    fprintf(stderr, "%s: ", where.c_str());
    if (running && now)
        fprintf(stderr, "block (%u, %u, %u) thread (%u, %u, %u): ", now->here.block.x,
                now->here.block.y, now->here.block.z, now->here.thread.x, now->here.thread.y,
                now->here.thread.z);
    fprintf(stderr, "%s\n", what);
    fflush(stderr);
    _exit(EXIT_CODE);
}

[[maybe_unused]] void on_fault(int signal, siginfo_t *info, void *context) {
    const void *code = (const void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    static bool once;
    if (once) _exit(EXIT_CODE);
    once = true;
    if (signal == SIGBUS || !in_device_range(info->si_addr)) {
        if (running && now && !on_stacks(info->si_addr) && signal == SIGSEGV && !info->si_addr)
            fail_at_code(code, "an address that is not aligned, or null");
        fail_at_code(code, "%s at address %p", signal == SIGBUS ? "bus error" : "no memory",
                     info->si_addr);
    }
    fail_at_code(code, running ? "access of %s" : "the host touched %s",
                 describe_device(info->si_addr));
}

} // namespace

void fail(Place at, const char *format, ...) {
    va_list rest;
    race_stop();
    va_start(rest, format);
    finish(std::string(at.file ? base_name(at.file) : "?") + ":" + std::to_string(at.line), format,
           rest);
}

void fail_at_code(const void *code, const char *format, ...) {
    race_stop();
    std::string text = look_up(code);
    size_t line = text.find('\n');
    text = line == std::string::npos ? "" : text.substr(line + 1);
    text = text.substr(0, text.find_first_of(" \n"));
    if (text.empty() || text[0] == '?') {
        char address[32];
        snprintf(address, sizeof address, "%p", code);
        text = address;
    }
    va_list rest;
    va_start(rest, format);
    finish(text, format, rest);
}

uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    uint64_t v = strtoull(text, &end, 10);
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || *(shift ? end + 1 : end)) {
        fprintf(stderr, "emu: %s: expected a number, got '%s'\n", name, text);
        _exit(EXIT_CODE);
    }
    return v << shift;
}

uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t seed() {
    static const uint64_t value = setting("EMU_SEED", 1);
    return value;
}

void watch_faults() {
#if !defined(EMU_ASAN)
    static thread_local bool done;
    if (done) return;
    done = true;
    stack_t other = {};
    other.ss_size = 256 * 1024;
    other.ss_sp =
        mmap(nullptr, other.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (other.ss_sp == MAP_FAILED) return;
    sigaltstack(&other, nullptr);
    struct sigaction act = {};
    act.sa_sigaction = on_fault;
    act.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &act, nullptr);
    sigaction(SIGBUS, &act, nullptr);
#endif
}

} // namespace emu
