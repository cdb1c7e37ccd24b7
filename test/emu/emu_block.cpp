/* A block's threads as fibers on the CPU thread that runs the launch, and where they wait for each
 * other. A fiber runs until it waits; the next lane of its warp that can run follows, then the next
 * warp. Order of blocks, warps and lanes comes from EMU_SEED.
 *
 * Checked here: all lanes of a warp at one operation, all threads of a block at one barrier line,
 * nobody left waiting. */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "emu.h"

#if !defined(__x86_64__)
#error "the switch between fibers is written for x86-64"
#endif

#if defined(EMU_ASAN)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 256 * 1024 };
#else
enum { STACK_BYTES = 64 * 1024 };
#endif

/* Save the callee's registers and the stack pointer, take up another stack (System V ABI,
 * x86-64). */
extern "C" void emu_switch(void **save, void *to);
extern "C" void emu_fiber_main(void);

namespace emu {

Lane *now;
const EmuCall *running;
Warp warps[MAX_WARPS];
Lane lanes[MAX_THREADS];
unsigned n_threads;

namespace {

enum { GUARD_BYTES = 4096 };
unsigned char *stacks; /* MAX_THREADS times guard, then stack */
void *host_stack_pointer;
unsigned n_warps, n_alive, n_at_barrier;
uint32_t ready_warps; /* warps with a ready lane */
unsigned warp_order[MAX_WARPS];
bool from_top; /* lanes of a warp: highest first */
Place barrier;
uint64_t random_state;

unsigned char *stack_of(unsigned lane) {
    return stacks + (size_t)lane * (STACK_BYTES + GUARD_BYTES) + GUARD_BYTES;
}

asm(R"(
    .text
    .type emu_switch, @function
    .globl emu_switch
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emu_switch, .-emu_switch
)");

#if defined(EMU_ASAN)
/* Bounds of the host thread's stack; asked for once, as the C library reads all mappings for it. */
thread_local const void *host_bottom;
thread_local size_t host_bytes;
void find_host_stack() {
    pthread_attr_t attr;
    void *bottom;
    if (host_bytes) return;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &bottom, &host_bytes);
    pthread_attr_destroy(&attr);
    host_bottom = bottom;
}
void before_switch(Lane *to, void **fake) {
    if (to)
        __sanitizer_start_switch_fiber(fake, stack_of(to->index), STACK_BYTES);
    else
        __sanitizer_start_switch_fiber(fake, host_bottom, host_bytes);
}
void after_switch(void *fake) { __sanitizer_finish_switch_fiber(fake, nullptr, nullptr); }
#else
void find_host_stack() {}
void before_switch(Lane *, void **) {}
void after_switch(void *) {}
#endif

/* Leave the running fiber (or the host, from = NULL) for another (or the host, to = NULL). */
void switch_to(Lane *from, Lane *to, bool is_last = false) {
    void *fake = nullptr, *unused;
    void **save = is_last ? &unused : from ? &from->stack_pointer : &host_stack_pointer;
    void *target = to ? to->stack_pointer : host_stack_pointer;
    now = to;
    before_switch(to, is_last ? nullptr : &fake);
    emu_switch(save, target);
    after_switch(fake);
}

bool same(Place a, Place b) {
    return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file));
}

std::string short_name(Place at) {
    const char *slash = strrchr(at.file, '/');
    return std::string(slash ? slash + 1 : at.file) + ":" + std::to_string(at.line);
}

/* Nobody can run: say who waits where. */
[[noreturn]] void deadlock() {
    race_stop();
    std::vector<std::pair<std::string, std::string>> where;
    Lane *first = nullptr;
    for (unsigned i = 0; i < n_threads; i++) {
        if (lanes[i].state != AT_WARP && lanes[i].state != AT_BLOCK) continue;
        if (!first) first = &lanes[i];
        std::string key = short_name(lanes[i].at);
        auto found =
            std::find_if(where.begin(), where.end(), [&](auto &w) { return w.first == key; });
        if (found == where.end())
            where.push_back({key, std::to_string(i)});
        else if (found->second.size() < 60)
            found->second += " " + std::to_string(i);
    }
    std::string text;
    for (auto &w : where) text += " threads " + w.second + " wait at " + w.first + ";";
    unsigned ended = n_threads - n_alive;
    now = first;
    fail(first->at, "nobody can run:%s %u have ended", text.c_str(), ended);
}

/* The next lane that can run, or NULL at the block's end. */
Lane *next_lane(unsigned warp) {
    if (!(ready_warps >> warp & 1)) {
        if (!ready_warps) {
            if (n_alive) deadlock();
            return nullptr;
        }
        unsigned i = 0;
        while (warp_order[i] != warp) i++;
        do i = i + 1 == n_warps ? 0 : i + 1;
        while (!(ready_warps >> warp_order[i] & 1));
        warp = warp_order[i];
    }
    Warp *w = &warps[warp];
    unsigned lane = from_top ? 31 - __builtin_clz(w->ready) : __builtin_ctz(w->ready);
    w->ready &= ~(1u << lane);
    if (!w->ready) ready_warps &= ~(1u << warp);
    return &lanes[warp * LANES + lane];
}

/* EMU_DROP=file:line makes the barrier of that line do nothing; EMU_BARRIERS=path: the barriers
 * reached are written there, for a test that drops each in turn. */
bool is_dropped(Place at) {
    static const char *drop = getenv("EMU_DROP"), *list = getenv("EMU_BARRIERS");
    static std::vector<Place> seen;
    if (!drop && !list) return false;
    if (list && std::none_of(seen.begin(), seen.end(), [&](Place p) { return same(p, at); })) {
        FILE *f = fopen(list, "a");
        if (!f) fail(at, "EMU_BARRIERS: cannot write %s", list);
        seen.push_back(at);
        fprintf(f, "%s\n", short_name(at).c_str());
        fclose(f);
    }
    return drop && short_name(at) == drop;
}

void make_ready(unsigned warp, uint32_t mask) {
    if (!mask) return;
    warps[warp].ready |= mask;
    ready_warps |= 1u << warp;
}

/* The running lane waits until somebody makes it ready. */
void wait(Waiting state, Place at) {
    Lane *me = now;
    me->state = state;
    me->at = at;
    Lane *next = next_lane(me->index / LANES);
    if (next != me) switch_to(me, next);
    me->state = RUNS;
}

/* Everybody who is left has come: all run on. The running lane is not among the waiting. */
void release_barrier() {
    race_block_barrier();
    n_at_barrier = 0;
    barrier.file = nullptr;
    for (unsigned w = 0; w < n_warps; w++) {
        uint32_t mask = 0;
        for (unsigned i = w * LANES; i < w * LANES + LANES && i < n_threads; i++)
            if (lanes[i].state == AT_BLOCK) mask |= 1u << (i % LANES), lanes[i].state = RUNS;
        make_ready(w, mask);
    }
}

void check_warp_whole(Warp *w) {
    if (w->ended && w->arrived)
        fail(w->at, "lane %d of this warp has ended, and the operation names it",
             __builtin_ctz(w->ended));
}

[[noreturn]] void fiber() {
    after_switch(nullptr);
    Lane *me = now;
    running->run();
    lane_ended(me);
    Warp *w = &warps[me->index / LANES];
    me->state = ENDED;
    w->ended |= 1u << (me->index % LANES);
    n_alive--;
    check_warp_whole(w);
    if (n_alive && n_at_barrier == n_alive) release_barrier();
    switch_to(me, next_lane(me->index / LANES), true);
    abort();
}

void make_stacks() {
    if (stacks) return;
    size_t n_bytes = (size_t)MAX_THREADS * (STACK_BYTES + GUARD_BYTES);
    void *p = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (p == MAP_FAILED) fail({__FILE__, __LINE__}, "no memory for %zu bytes of stacks", n_bytes);
    stacks = (unsigned char *)p;
    for (unsigned i = 0; i < MAX_THREADS; i++)
        mprotect(stack_of(i) - GUARD_BYTES, GUARD_BYTES, PROT_NONE);
}

/* A lane at the kernel's first instruction. */
void prepare(unsigned i, dim3 block, dim3 grid, uint3 index) {
    Lane *l = &lanes[i];
    l->here.thread = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    l->here.block = index;
    l->here.threads = block;
    l->here.blocks = grid;
    l->index = i;
    l->state = RUNS;
    l->at = {nullptr, 0};
#if defined(EMU_ASAN)
    __asan_unpoison_memory_region(stack_of(i), STACK_BYTES);
#endif
    void **top = (void **)(stack_of(i) + STACK_BYTES) - 8;
    memset(top, 0, 8 * sizeof *top);
    top[6] = (void *)emu_fiber_main;
    l->stack_pointer = top;
}

void run_block(dim3 block, dim3 grid, uint3 index) {
    n_alive = n_threads;
    n_at_barrier = 0;
    ready_warps = 0;
    from_top = seed() && (next_random(&random_state) & 1);
    for (unsigned i = 0; i < n_threads; i++) prepare(i, block, grid, index);
    for (unsigned w = 0; w < n_warps; w++) {
        unsigned n = std::min<unsigned>(LANES, n_threads - w * LANES);
        warps[w] = Warp{};
        warps[w].all = n == LANES ? ~0u : (1u << n) - 1;
        make_ready(w, warps[w].all);
        warp_order[w] = w;
    }
    for (unsigned w = n_warps; seed() && w > 1; w--)
        std::swap(warp_order[w - 1], warp_order[next_random(&random_state) % w]);
    shared_begin_block();
    switch_to(nullptr, next_lane(warp_order[0]));
    shared_end_block();
}

} // namespace

bool on_stacks(const void *p) {
    return stacks && (const unsigned char *)p >= stacks &&
           (const unsigned char *)p < stacks + (size_t)MAX_THREADS * (STACK_BYTES + GUARD_BYTES);
}

void run_launch(const EmuCall *call, dim3 grid, dim3 block, size_t shared_bytes, int device) {
    uint64_t n_blocks = (uint64_t)grid.x * grid.y * grid.z;
    std::vector<uint32_t> order(n_blocks);
    watch_faults();
    make_stacks();
    find_host_stack();
    random_state = seed();
    running = call;
    running_device = device;
    n_threads = block.x * block.y * block.z;
    n_warps = (n_threads + LANES - 1) / LANES;
    for (uint64_t i = 0; i < n_blocks; i++) order[i] = (uint32_t)i;
    if (seed())
        for (uint64_t i = n_blocks; i > 1; i--)
            std::swap(order[i - 1], order[next_random(&random_state) % i]);
    shared_begin_launch(shared_bytes);
    race_begin_launch();
    for (uint32_t i : order)
        run_block(block, grid, {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y});
    shared_end_launch();
    check_guards(device);
    running = nullptr;
}

void with_warp(int kind, void *operand, Place at, void (*work)(Warp *warp)) {
    Lane *me = now;
    Warp *w = &warps[me->index / LANES];
    if (!w->arrived) {
        w->kind = kind;
        w->at = at;
        if (w->all != ~0u)
            fail(at, "a warp of %d lanes, and the operation names 32", __builtin_popcount(w->all));
    } else if (w->kind != kind || !same(w->at, at)) {
        fail(at, "lanes of one warp at different operations: another is at %s",
             short_name(w->at).c_str());
    }
    w->arrived |= 1u << (me->index % LANES);
    w->operands[me->index % LANES] = operand;
    check_warp_whole(w);
    if (w->arrived != w->all) {
        wait(AT_WARP, at);
        return;
    }
    if (work) work(w);
    w->arrived = 0;
    make_ready(me->index / LANES, w->all & ~(1u << (me->index % LANES)));
}

} // namespace emu

using namespace emu;

extern "C" void emu_fiber_main(void) { fiber(); }

extern "C" const EmuHere *emu_here(void) {
    if (!now) fail({"emu_prim.h", 0}, "threadIdx or the like outside a kernel");
    return &now->here;
}

extern "C" void emu_sync_block(const char *file, int line) {
    Place at = {file, line};
    if (is_dropped(at)) return;
    if (barrier.file && n_at_barrier && !same(barrier, at))
        fail(at, "threads of one block at different barriers: others wait at %s",
             short_name(barrier).c_str());
    barrier = at;
    if (++n_at_barrier == n_alive)
        release_barrier();
    else
        wait(AT_BLOCK, at);
}

extern "C" void emu_sync_warp(const char *file, int line) {
    Place at = {file, line};
    if (is_dropped(at)) return;
    with_warp(-1, nullptr, at, [](Warp *w) { race_warp_barrier((unsigned)(w - warps)); });
}
