/* Streams and events as a GPU has them: what is put into a stream (copies, fills, kernels) runs
 * only when something waits for it, in an order between streams that EMU_SEED decides. Host memory
 * of a copy is read and written when the copy runs. So a missing wait, or a buffer used again too
 * early, gives wrong results here as it does there.
 *
 * All calls of the runtime hold one lock; the host thread that waits runs the work. Kernels run one
 * at a time. */
#include <chrono>
#include <deque>
#include <set>

#include "emu_runtime.h"

struct EmuStream {
    int device;
    std::deque<emu::Work> queue;
};
struct EmuEvent {
    int device;
    std::shared_ptr<emu::Mark> mark; /* of the last record; NULL: never */
};

namespace emu {

std::recursive_mutex lock;

namespace {

std::set<EmuStream *> streams;
std::set<EmuEvent *> events;
EmuStream defaults[MAX_DEVICES]; /* stream 0 of each device */
uint64_t random_state;

uint64_t draw() {
    if (!random_state) random_state = seed() + 1;
    return next_random(&random_state);
}

double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

bool blocked(const Work &w) { return w.kind == Work::WAIT && !w.mark->reached; }

void carry_out(EmuStream *s) {
    Work w = std::move(s->queue.front());
    s->queue.pop_front();
    switch (w.kind) {
    case Work::COPY:
        memmove(w.to, w.from, w.n_bytes);
        if (in_device_range(w.to)) race_global_reset(w.to, w.n_bytes);
        break;
    case Work::FILL:
        memset(w.to, w.byte, w.n_bytes);
        race_global_reset(w.to, w.n_bytes);
        break;
    case Work::LAUNCH: run_launch(w.call.get(), w.grid, w.block, w.shared_bytes, s->device); break;
    case Work::RECORD:
        w.mark->reached = true;
        w.mark->seconds = seconds();
        break;
    case Work::WAIT: break;
    }
}

std::vector<EmuStream *> all_streams() {
    std::vector<EmuStream *> all(streams.begin(), streams.end());
    for (EmuStream &s : defaults) all.push_back(&s);
    return all;
}

/* The stream that will reach a mark. */
EmuStream *stream_of(const Mark *mark) {
    for (EmuStream *s : all_streams())
        for (const Work &w : s->queue)
            if (w.kind == Work::RECORD && w.mark.get() == mark) return s;
    fail({"emu_stream.cpp", __LINE__}, "a stream waits for an event whose stream is gone");
}

/* Run something that brings `s` forward. */
void step_towards(EmuStream *s) {
    while (blocked(s->queue.front())) s = stream_of(s->queue.front().mark.get());
    carry_out(s);
}

/* Now and then another stream's work goes first, as far as it can. */
void maybe_others() {
    if (!seed() || draw() % 3) return;
    for (EmuStream *s : all_streams())
        for (uint64_t n = draw() % 4; n && !s->queue.empty() && !blocked(s->queue.front()); n--)
            carry_out(s);
}

} // namespace

bool is_stream(EmuStream *s) { return !s || streams.count(s); }
bool is_event(EmuEvent *e) { return events.count(e) != 0; }
int stream_device(EmuStream *s) { return s ? s->device : current_device(); }

EmuStream *stream_new(int device) {
    EmuStream *s = new EmuStream;
    s->device = device;
    streams.insert(s);
    return s;
}

void stream_delete(EmuStream *s) {
    stream_drain(s);
    streams.erase(s);
    delete s;
}

void stream_put(EmuStream *s, Work &&work) {
    if (!s) {
        s = &defaults[current_device()];
        s->device = current_device();
    }
    s->queue.push_back(std::move(work));
}

void stream_drain(EmuStream *s) {
    if (!s) s = &defaults[current_device()];
    if (s->queue.empty()) return;
    Open open;
    while (!s->queue.empty()) {
        maybe_others();
        if (!s->queue.empty()) step_towards(s);
    }
}

void device_drain(int device) {
    for (EmuStream *s : all_streams())
        if (s->device == device) stream_drain(s);
}

bool stream_poll(EmuStream *s) {
    if (!s) s = &defaults[current_device()];
    if (!s->queue.empty() && draw() % 2) {
        Open open;
        step_towards(s);
    }
    return s->queue.empty();
}

EmuEvent *event_new(int device) {
    EmuEvent *e = new EmuEvent;
    e->device = device;
    events.insert(e);
    return e;
}

void event_delete(EmuEvent *e) {
    events.erase(e);
    delete e;
}

int event_device(EmuEvent *e) { return e->device; }

void event_record(EmuEvent *e, EmuStream *s) {
    Work w = {};
    w.kind = Work::RECORD;
    w.mark = e->mark = std::make_shared<Mark>();
    stream_put(s, std::move(w));
}

void event_hold(EmuStream *s, EmuEvent *e) {
    if (!e->mark) return;
    Work w = {};
    w.kind = Work::WAIT;
    w.mark = e->mark;
    stream_put(s, std::move(w));
}

void event_drain(EmuEvent *e) {
    std::shared_ptr<Mark> mark = e->mark;
    if (!mark || mark->reached) return;
    Open open;
    while (!mark->reached) {
        maybe_others();
        if (!mark->reached) step_towards(stream_of(mark.get()));
    }
}

bool event_poll(EmuEvent *e) {
    if (e->mark && !e->mark->reached && draw() % 2) {
        Open open;
        step_towards(stream_of(e->mark.get()));
    }
    return !e->mark || e->mark->reached;
}

const Mark *event_mark(EmuEvent *e) { return e->mark.get(); }

size_t streams_open() { return streams.size(); }
size_t events_open() { return events.size(); }

} // namespace emu
