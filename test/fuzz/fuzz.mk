# Coverage-guided fuzzing: CONFIG=fuzz compiles the library, but for its kernels, for libFuzzer and the sanitizers of clang;
# each target is linked with it. In every configuration replay_NAME runs kept inputs without it. Reached by `make fuzz`.
# Whether this machine has it is asked when it matters: clang may come without its runtime libraries.
HAS_FUZZER   = $(if $(CLANG),$(shell echo 'int LLVMFuzzerTestOneInput(void *p, long n) { return !p + !n; }' | \
                 $(CLANG) -x c -fsanitize=fuzzer,address,undefined -o /dev/null - >/dev/null 2>&1 && echo yes))
FUZZ_SRC    := $(sort $(wildcard test/fuzz/fuzz_*.c))
FUZZ_NAMES  := $(FUZZ_SRC:test/fuzz/fuzz_%.c=%)
REPLAY_BIN  := $(FUZZ_NAMES:%=$B/test/fuzz/replay_%)
FUZZ_BIN    := $(FUZZ_NAMES:%=$B/test/fuzz/fuzz_%)
# The one target that looks at a tool's own code.
$B/test/fuzz/replay_text $B/test/fuzz/fuzz_text: $(patsubst %.c,$B/%.o,$(wildcard tools/search/print/*.c)) $(TOOL_COMMON)

.PHONY: fuzz-programs replay-programs
fuzz-programs: $(FUZZ_BIN)
replay-programs: $(REPLAY_BIN)

$(REPLAY_BIN): $B/test/fuzz/replay_%: $B/test/fuzz/fuzz_%.o $B/test/fuzz/replay.o $B/libmidisim-internal.a
	$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(CUDART) $(LIBS)

$(FUZZ_BIN): $B/test/fuzz/fuzz_%: $B/test/fuzz/fuzz_%.o $B/libmidisim-internal.a
	$(LINK) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

-include $(FUZZ_SRC:%.c=$B/%.d) $B/test/fuzz/replay.d
