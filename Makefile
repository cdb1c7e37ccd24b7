# midisim: a C library and its tools. `make` builds and needs no network; `make demo` and `make test` set up what they
# need first (scripts/setup.sh, weights/fetch.sh).
#   CONFIG=release|asan   CC, CPPFLAGS, CFLAGS, LDFLAGS honoured   WERROR=1   PREFIX, DESTDIR for install
#   CUDA=0: without CUDA kernels, which are built in where nvcc is found (src/kernels/cuda.mk, docs/GPU.md)
#   MPI=1: midisim-embed and midisim-search for many processes, in build/mpi (MPICC: Open MPI's compiler; docs/SCALE.md)
CONFIG  ?= release
PREFIX  ?= /usr/local
B       := build/$(CONFIG)
VERSION := $(shell sed -n 's/^\#define MSIM_VERSION "\(.*\)"/\1/p' include/midisim.h)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || cat build/gpu-bundle/COMMIT 2>/dev/null || echo unknown)

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
# -ffp-contract=off: a fused multiply-add where the source has two operations would change tokens (docs/PITFALLS.md).
OURS    := -std=gnu11 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno $(WARN) -Iinclude -Isrc -DMSIM_BUILD
LIBS    := -lz -lcjson -lcrypto -lm -pthread
ifeq ($(CONFIG),asan)
SAN     := 1
OURS    += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
ifdef WERROR
OURS    += -Werror
endif

COMPILE  = $(CC) $(CPPFLAGS) $(OURS) $(CFLAGS)
LINK     = $(CC) $(OURS) $(CFLAGS) $(LDFLAGS)

LIB_SRC  := $(sort $(wildcard src/*.c src/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$B/%.o)
# kern_avx2int8.c, kern_avx512vnni.c and the kernels of scans belong to levels, and are none.
LEVELS   := $(filter-out avx2int8 avx512vnni scan_%,$(patsubst src/cpu/kern_%.c,%,$(filter src/cpu/kern_%.c,$(LIB_SRC))))
TOOLS    := tokens embed search convert bench
TOOL_BIN := $(TOOLS:%=$B/midisim-%)
BENCH_OBJ := $(patsubst %.c,$B/%.o,$(sort $(wildcard tools/bench_*.c tools/roof_*.c)))
SEARCH_OBJ := $(patsubst %.c,$B/%.o,$(sort $(wildcard tools/search_*.c)) tools/copy_to.c)
TOOL_COMMON := $(filter-out $(BENCH_OBJ) $(SEARCH_OBJ),$(patsubst %.c,$B/%.o,$(filter-out $(TOOLS:%=tools/%.c) \
    tools/ranks_mpi.c,$(sort $(wildcard tools/*.c)))))
TEST_SRC := $(sort $(wildcard test/unit/test_*.c test/kern/test_*.c))
TEST_BIN := $(TEST_SRC:test/%.c=$B/test/%)
MPI_DIR  := build/mpi$(patsubst %,-%,$(filter-out release,$(CONFIG)))
MPI_BIN  := $(addprefix $(MPI_DIR)/midisim-,embed search)
MAN      := $(TOOLS:%=$B/share/midisim-%.1)
COMPLETION := $(TOOLS:%=$B/share/midisim-%)

.PHONY: all
all: $(if $(MPI),$(MPI_BIN),$B/libmidisim.a $B/libmidisim.so.$(MAJOR) $(TOOL_BIN) $(MAN) $(COMPLETION))

# What objects were made with. A stamp is rewritten only when its text changed, so other flags rebuild everything,
# another commit or PREFIX two files, and a removed source the archives.
define STAMP
.PHONY: $B/stamp.$(1).now
$B/stamp.$(1): $B/stamp.$(1).now
	$$(shell mkdir -p $$(@D))$$(file >$$@.new,$(2))@cmp -s $$@.new $$@ && rm $$@.new || mv $$@.new $$@
endef
$(eval $(call STAMP,flags,$$(COMPILE) $$(LDFLAGS)))
$(eval $(call STAMP,commit,$$(COMMIT) $$(PREFIX) $$(LEVELS)))
$(eval $(call STAMP,sources,$$(LIB_OBJ)))

# Kernels for GPUs: what is compiled, and what LIB_OBJ and LIBS are then.
include src/kernels/cuda.mk

# One instruction set a file; nothing else may hold wide code.
$B/src/cpu/kern_avx2.o: private ISA := -mavx2 -mfma -mf16c
$B/src/cpu/kern_avx2int8.o: private ISA := -mavx2 -mfma
$B/src/cpu/kern_avx512.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
$B/src/cpu/kern_avx512bf16.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mavx512bf16
$B/src/cpu/kern_avx512vnni.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mavx512vnni
$B/src/cpu/kern_scan_avx2.o: private ISA := -mavx2 -mfma -mf16c
$B/src/cpu/kern_scan_avx512.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
$B/src/cpu/kern_scan_int8_avx2.o $B/src/cpu/kern_scan_bf16_avx2.o: private ISA := -mavx2 -mfma
$B/src/cpu/kern_scan_bf16_avx512.o: private ISA := -mavx512f -mfma
$B/src/cpu/kern_scan_int8_avx512vnni.o: private ISA := -mavx512f -mfma -mavx512vnni
$B/tools/roof_avx2.o: private ISA := -mavx2 -mfma
$B/tools/roof_avx512.o: private ISA := -mavx512f
$B/tools/roof_avx512bf16.o: private ISA := -mavx512f -mavx512bf16
$B/tools/roof_avx512vnni.o: private ISA := -mavx512f -mavx512vnni
$B/tools/cli.o $B/tools/help.o $B/tools/bench_result.o: private DEFINE := -DMSIM_COMMIT='"$(COMMIT)"' -DMSIM_PREFIX='"$(PREFIX)"' \
    -DMSIM_LEVELS='"ref $(filter-out ref,$(LEVELS))"'
$B/tools/cli.o $B/tools/help.o $B/tools/bench_result.o: $B/stamp.commit

$B/%.o: %.c $B/stamp.flags
	@mkdir -p $(@D)
	$(COMPILE) $(ISA) $(DEFINE) -MMD -MP -c $< -o $@

# Tests and tools link the internal archive; the installed ones show msim_ symbols alone.
$B/libmidisim-internal.a: $(LIB_OBJ) $B/stamp.sources
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

$B/libmidisim.a: $(LIB_OBJ) $B/stamp.sources
	$(LD) -r -o $B/midisim-all.o $(LIB_OBJ) $(CUDART)
	objcopy --wildcard --keep-global-symbol='msim_*' $B/midisim-all.o
	@rm -f $@
	$(AR) rcs $@ $B/midisim-all.o

$B/libmidisim.so.$(MAJOR): $(LIB_OBJ) $B/stamp.sources
	$(LINK) -shared -Wl,-soname,libmidisim.so.$(MAJOR) $(if $(SAN),,-Wl,--no-undefined) -o $@ $(LIB_OBJ) $(CUDART) $(LIBS)

$B/midisim-bench: $(BENCH_OBJ)
$B/midisim-search: $(SEARCH_OBJ)

$B/midisim-%: $B/tools/%.o $(TOOL_COMMON) $B/libmidisim-internal.a
	$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(CUDART) $(LIBS)

# With MPI the same objects but one: tools/ranks_mpi.c instead of tools/ranks_one.c.
ifdef MPI
MPICC  ?= mpicc
MPI_LIBS := $(or $(shell $(MPICC) --showme:link),$(error MPI=1: expected Open MPI's compiler, got '$(MPICC)'))

$(MPI_DIR)/ranks.o: tools/ranks_mpi.c $B/stamp.flags
	@mkdir -p $(@D)
	$(COMPILE) $(shell $(MPICC) --showme:compile) -MMD -MP -c $< -o $@

$(MPI_DIR)/midisim-search: $(SEARCH_OBJ)
$(MPI_DIR)/midisim-%: $B/tools/%.o $(TOOL_COMMON) $(MPI_DIR)/ranks.o $B/libmidisim-internal.a
	$(LINK) -o $@ $(filter-out %/ranks_one.o,$(filter %.o,$^)) $(filter %.a,$^) $(CUDART) $(LIBS) $(MPI_LIBS)
endif

$B/test/%: $B/test/%.o $B/libmidisim-internal.a
	$(LINK) -o $@ $^ -lcmocka $(CUDART) $(LIBS)

# Man pages and completions come from the option tables that print --help.
$B/share/midisim-%.1: $B/midisim-%
	@mkdir -p $(@D)
	$< --generate-man >$@.new && mv $@.new $@

$B/share/midisim-%: $B/midisim-%
	@mkdir -p $(@D)
	$< --generate-completion >$@.new && mv $@.new $@

# The kernels on a CPU: make emu, emu-race, emu-asan.
ifeq ($(CONFIG),release)
include test/emu/emu.mk
endif

# ---- Whole jobs: each sets up what it needs ---------------------------------------------------------------------

# As many jobs as processors, where the caller has not said how many: kernels for all architectures take their time.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: demo
demo:
	@scripts/setup.sh build
	@$(MAKE) $(JOBS) --no-print-directory -s all
	@MIDISIM_CONVERT=$B/midisim-convert weights/fetch.sh
	@demo/run.sh $B

.PHONY: test test-slow asan
test test-slow:
	scripts/setup.sh test
	$(MAKE) $(JOBS) --no-print-directory all programs $(if $(SAN),,emu emu-race $(if $(filter test-slow,$@),emu-asan))
	$(MAKE) --no-print-directory MPI=1 all
	@MIDISIM_CONVERT=$B/midisim-convert weights/fetch.sh || echo "make: no weights: tests that need them are skipped"
	test/run --config $(CONFIG) $(if $(filter test-slow,$@),--slow)

# Units, hostile inputs and kernels under the address and undefined-behaviour sanitizers; needs no weights.
asan:
	scripts/setup.sh test
	$(MAKE) $(JOBS) --no-print-directory CONFIG=asan all programs
	$(MAKE) $(JOBS) --no-print-directory CONFIG=release emu-asan
	test/run --config asan --only unit,hostile,emu-asan

# The same for FUZZ_COUNT mutated files: test/fuzz/fuzz.c.
FUZZ_COUNT ?= 100000
.PHONY: fuzz
fuzz:
	$(MAKE) --no-print-directory CONFIG=asan build/asan/test/fuzz/fuzz
	build/asan/test/fuzz/fuzz --count $(FUZZ_COUNT) test/data

# Measurements, to be run with nothing else on the machine: docs/SPEED.md. `bench` appends to bench/results; with
# PEERS_PYTHON (an interpreter with the peers' packages) also what a user would pick instead.
BENCH_MIDI ?= $(firstword $(wildcard $(MIDISIM_TEST_DATA) ../shared/midi) test/data/midi)
.PHONY: bench bench-smoke bench-setup
bench-setup:
	@scripts/setup.sh build
	@$(MAKE) --no-print-directory -s all
	@MIDISIM_CONVERT=$B/midisim-convert weights/fetch.sh

bench: bench-setup
	@mkdir -p bench/results
	$B/midisim-bench roof --csv bench/results
	$B/midisim-bench encoder --csv bench/results
	$B/midisim-bench encoder --batch 8 --lengths 512 --csv bench/results
	$B/midisim-tokens -q $(BENCH_MIDI) 2>/dev/null | $B/midisim-bench encoder --tokens - --rounds 1 --csv bench/results
	$B/midisim-bench tokens $(BENCH_MIDI) --csv bench/results
	$B/midisim-bench search --csv bench/results
	$B/midisim-bench search --scan f64,f32,bf16,int8 --csv bench/results
	$B/midisim-bench embed test/data/midi --max-tokens 512 --rounds 1 --csv bench/results
	$(if $(PEERS_PYTHON),bench/compare.py --python $(PEERS_PYTHON) --build $B --csv bench/results)

bench-smoke: bench-setup
	@bench/smoke.py --build $B

# On a machine with an NVIDIA GPU (docs/GPU.md): what must hold there, and how fast it is. Both build for its card alone, in
# build/gpu. GPU_CHECK, GPU_BENCH: more options. gpu-bundle makes what such a machine lacks when it has no network.
.PHONY: gpu-check gpu-bench gpu-bundle
gpu-check:
	@MAKE='$(MAKE)' python3 test/gpu/gpu_check.py --make $(GPU_CHECK)

gpu-bench:
	@MAKE='$(MAKE)' python3 bench/gpu_bench.py --make $(GPU_BENCH)

gpu-bundle: all
	scripts/gpu_bundle.py --build $B

gpu-programs: $B/test/gpu/driver $B/bench/gpu_bench

$B/bench/gpu_bench: $B/bench/gpu_read.o
$B/bench/%: $B/bench/%.o $B/libmidisim-internal.a
	$(LINK) -o $@ $^ $(CUDART) $(LIBS)

# ---- Parts ------------------------------------------------------------------------------------------------------

.PHONY: programs unit lint clean
programs: $(TEST_BIN)

unit: programs
	@for t in $(TEST_BIN); do echo "== $$t"; $$t || exit 1; done

lint: all
	test/run --config $(CONFIG) --only lint

clean:
	rm -rf build

# ---- Install ----------------------------------------------------------------------------------------------------

D    := $(DESTDIR)$(PREFIX)
SO   := libmidisim.so
FILES = $(TOOLS:%=$D/bin/midisim-%) $D/include/midisim.h $D/lib/libmidisim.a $D/lib/$(SO).$(VERSION) $D/lib/$(SO).$(MAJOR) \
        $D/lib/$(SO) $D/lib/pkgconfig/midisim.pc $(TOOLS:%=$D/share/man/man1/midisim-%.1) \
        $(TOOLS:%=$D/share/bash-completion/completions/midisim-%) $D/share/doc/midisim/LICENSE $D/share/doc/midisim/README.md

.PHONY: install uninstall
install: all
	install -d $(sort $(dir $(FILES)))
	install -m 755 $(TOOL_BIN) $D/bin
	install -m 644 include/midisim.h $D/include
	install -m 644 $B/libmidisim.a $D/lib
	install -m 755 $B/$(SO).$(MAJOR) $D/lib/$(SO).$(VERSION)
	ln -sf $(SO).$(VERSION) $D/lib/$(SO).$(MAJOR)
	ln -sf $(SO).$(MAJOR) $D/lib/$(SO)
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' midisim.pc.in >$D/lib/pkgconfig/midisim.pc
	install -m 644 $(MAN) $D/share/man/man1
	install -m 644 $(COMPLETION) $D/share/bash-completion/completions
	install -m 644 LICENSE README.md $D/share/doc/midisim

uninstall:
	rm -f $(FILES)
	-rmdir $D/share/doc/midisim 2>/dev/null

.SECONDARY:
.DELETE_ON_ERROR:
-include $(LIB_OBJ:.o=.d) $(TOOL_COMMON:.o=.d) $(BENCH_OBJ:.o=.d) $(SEARCH_OBJ:.o=.d) $(TOOL_BIN:$B/midisim-%=$B/tools/%.d) $(TEST_BIN:=.d) $B/test/fuzz/fuzz.d $(MPI_DIR)/ranks.d $(GPU_TEST:=.d) \
    $B/test/gpu/driver.d $B/bench/gpu_bench.d $B/bench/gpu_read.d
