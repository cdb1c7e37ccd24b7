# midisim: a C library and its tools. `make` builds and needs no network; `make demo` and `make test` set up what they
# need first (scripts/setup.sh, weights/fetch.sh).
#   CONFIG=release|asan|tsan|fuzz   CC, CPPFLAGS, CFLAGS, LDFLAGS honoured   WERROR=1
#   PREFIX, LIBDIR, DESTDIR for install, install-strip and uninstall; deb and dist make packages (packaging/packaging.mk)
#   CUDA=0: without CUDA kernels, which are built in where nvcc is found (src/kernels/cuda.mk, docs/GPU.md)
#   MPI=1: midisim-embed, -search, -index, -find and -groups for many processes, in build/mpi (MPICC: Open MPI's compiler; docs/SCALE.md)
CONFIG  ?= release
CLANG   ?= $(firstword $(shell command -v clang clang-14))
PREFIX  ?= /usr/local
B       := build/$(CONFIG)
VERSION := $(shell sed -n 's/^\#define MSIM_VERSION "\(.*\)"/\1/p' include/midisim.h)
MAJOR   := $(shell sed -n 's/^\#define MSIM_ABI \([0-9]*\).*/\1/p' include/midisim.h)
# A tarball says its commit in the file COMMIT: where it is unpacked there may be a git of something else.
COMMIT  := $(shell cat COMMIT 2>/dev/null || git rev-parse --short=12 HEAD 2>/dev/null || \
               cat build/gpu-bundle/COMMIT 2>/dev/null || echo unknown)

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
# -ffp-contract=off: a fused multiply-add where the source has two operations would change tokens (docs/PITFALLS.md).
OURS    := -std=gnu11 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno $(WARN) -Iinclude -Isrc -Itools -DMSIM_BUILD
LIBS    := -lz -lcjson -lcrypto -lm -pthread
ifeq ($(CONFIG),asan)
SAN     := 1
OURS    += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
ifeq ($(CONFIG),tsan)
SAN     := 1
OURS    += -fsanitize=thread -fno-omit-frame-pointer
endif
# For libFuzzer (test/fuzz): clang alone; kernels stay as they are, since instrumented they are too slow to be of use.
ifeq ($(CONFIG),fuzz)
CC      := $(CLANG)
SAN     := 1
SANITIZE = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
$B/src/cpu/kernels/%.o: private SANITIZE =
endif
ifdef WERROR
OURS    += -Werror
endif

COMPILE  = $(CC) $(CPPFLAGS) $(OURS) $(SANITIZE) $(TESTS) $(CFLAGS)
LINK     = $(CC) $(OURS) $(SANITIZE) $(CFLAGS) $(LDFLAGS)

# A folder is a module and a tool is a folder: what belongs to whom is where it lies.
# Code for one architecture lies in a folder x86 or arm; a build leaves out the others'.
ARCH     := $(patsubst x86_64,x86,$(patsubst aarch64,arm,$(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))))
OTHERS   := $(filter-out $(ARCH),x86 arm)
LIB_SRC  := $(sort $(wildcard src/*.c src/*/*.c src/*/*/*.c src/*/*/*/*.c src/*/*/*/*/*.c))
LIB_SRC  := $(filter-out $(OTHERS:%=src/cpu/kernels/%/%),$(LIB_SRC))
LIB_OBJ  := $(LIB_SRC:%.c=$B/%.o)
# The server needs libmicrohttpd; without it, the other tools are built alone.
HAS_HTTP := $(shell echo '\#include <microhttpd.h>' | $(CC) $(CPPFLAGS) -E -x c - >/dev/null 2>&1 && echo 1)
TOOLS    := tokens embed search index find groups report $(if $(HAS_HTTP),serve) eval convert bench fetch
TOOL_BIN := $(TOOLS:%=$B/midisim-%)
TOOL_SRC := $(sort $(wildcard $(TOOLS:%=tools/%/*.c) tools/search/print/*.c tools/bench/$(ARCH)/*.c))
TOOL_COMMON := $(patsubst %.c,$B/%.o,$(filter-out tools/common/ranks_mpi.c,$(sort $(wildcard tools/common/*.c tools/common/*/*.c))))
tool_obj  = $(patsubst %.c,$B/%.o,$(filter tools/$(1)/%,$(TOOL_SRC)))
TEST_SRC := $(sort $(wildcard test/unit/*/test_*.c))
TEST_BIN := $(TEST_SRC:test/%.c=$B/test/%)
MPI_DIR  := build/mpi$(patsubst %,-%,$(filter-out release,$(CONFIG)))
MPI_TOOLS := embed search index find groups
MPI_BIN  := $(addprefix $(MPI_DIR)/midisim-,$(MPI_TOOLS))
FRONT    := $B/midisim
MAN      := $(TOOLS:%=$B/share/midisim-%.1)
COMPLETION := $(foreach t,$(TOOLS),$B/share/midisim-$t $B/share/_midisim-$t $B/share/midisim-$t.fish)

.PHONY: all
all: $(if $(MPI),$(MPI_BIN),$B/libmidisim.a $B/libmidisim.so.$(MAJOR) $(TOOL_BIN) $(FRONT) $(MAN) $(COMPLETION))

# What objects were made with. A stamp is rewritten only when its text changed, so other flags rebuild everything,
# another commit or PREFIX two files, and a removed source the archives.
define STAMP
.PHONY: $B/stamp.$(1).now
$B/stamp.$(1): $B/stamp.$(1).now
	$$(shell mkdir -p $$(@D))$$(file >$$@.new,$(2))@cmp -s $$@.new $$@ && rm $$@.new || mv $$@.new $$@
endef
$(eval $(call STAMP,flags,$$(COMPILE) $$(LDFLAGS)))
$(eval $(call STAMP,commit,$$(COMMIT) $$(PREFIX)))
$(eval $(call STAMP,sources,$$(LIB_OBJ)))

# Kernels for GPUs: what is compiled, and what LIB_OBJ and LIBS are then.
include src/kernels/cuda.mk

# One instruction set per file, by the end of its name; nothing else may hold wide code.
ISA_avx2       := -mavx2 -mfma -mf16c
ISA_avx512     := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
ISA_avx512bf16 := $(ISA_avx512) -mavx512bf16
ISA_amxbf16    := $(ISA_avx512bf16) -mamx-tile -mamx-bf16
ISA_avx512vnni := $(ISA_avx512) -mavx512vnni
ISA_amxint8    := $(ISA_avx512vnni) -mamx-tile -mamx-int8
isa_of          = $(ISA_$(lastword $(subst _, ,$(basename $(notdir $(1))))))
$(foreach s,$(filter src/cpu/kernels/$(ARCH)/% tools/bench/$(ARCH)/%,$(LIB_SRC) $(TOOL_SRC)),\
    $(eval $(s:%.c=$B/%.o): private ISA := $$(call isa_of,$(s))))
SAYS_BUILD := $B/src/model/default.o $B/tools/common/cli.o $B/tools/common/texts/help.o $B/tools/bench/result.o \
    $B/tools/fetch/main.o
$(SAYS_BUILD): private DEFINE := -DMSIM_COMMIT='"$(COMMIT)"' -DMSIM_PREFIX='"$(PREFIX)"'
$(SAYS_BUILD): $B/stamp.commit

# The page of a report lies in the library as it is: src/report/assets.c.
$B/src/report/assets.o: $(wildcard src/report/page/*)
$B/tools/serve/assets.o: $(wildcard src/report/page/* tools/serve/page/*)

# Tests share headers of test/support.
$(foreach b,$B build/emu build/emu-race build/emu-asan,$b/test/%.o): private TESTS := -Itest

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

$(foreach t,$(TOOLS),$(eval $B/midisim-$t: $$(call tool_obj,$t)))
$(TOOL_BIN): $B/midisim-%: $(TOOL_COMMON) $B/libmidisim-internal.a
	$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(CUDART) $(LIBS)

$B/midisim-serve: private LIBS += -lmicrohttpd

# The front command needs small files alone, and no library but C's.
$(FRONT): $B/tools/midisim/main.o $B/tools/common/texts/spelling.o $B/libmidisim-internal.a
	$(LINK) -o $@ $^

# With MPI the same objects but one: tools/common/ranks_mpi.c instead of tools/common/ranks_one.c.
ifdef MPI
MPICC  ?= mpicc
MPI_LIBS := $(or $(shell $(MPICC) --showme:link),$(error MPI=1: expected Open MPI's compiler, got '$(MPICC)'))

$(MPI_DIR)/ranks.o: tools/common/ranks_mpi.c $B/stamp.flags
	@mkdir -p $(@D)
	$(COMPILE) $(shell $(MPICC) --showme:compile) -MMD -MP -c $< -o $@

$(foreach t,$(MPI_TOOLS),$(eval $(MPI_DIR)/midisim-$t: $$(call tool_obj,$t)))
$(MPI_BIN): $(MPI_DIR)/midisim-%: $(TOOL_COMMON) $(MPI_DIR)/ranks.o $B/libmidisim-internal.a
	$(LINK) -o $@ $(filter-out %/ranks_one.o,$(filter %.o,$^)) $(filter %.a,$^) $(CUDART) $(LIBS) $(MPI_LIBS)
endif

$B/test/%: $B/test/%.o $B/libmidisim-internal.a
	$(LINK) -o $@ $^ -lcmocka $(CUDART) $(LIBS)

include test/fuzz/fuzz.mk

# Man pages and completions come from the option tables that print --help.
$B/share/midisim-%.1: $B/midisim-%
	@mkdir -p $(@D)
	$< --generate-man >$@.new && mv $@.new $@

$B/share/midisim-%.fish: $B/midisim-%
	@mkdir -p $(@D)
	$< --generate-fish >$@.new && mv $@.new $@

$B/share/_midisim-%: $B/midisim-%
	@mkdir -p $(@D)
	$< --generate-zsh >$@.new && mv $@.new $@

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

.PHONY: demo demo-lakh
demo:
	@scripts/setup.sh build
	@$(MAKE) $(JOBS) --no-print-directory -s all
	@MIDISIM_CONVERT=$B/midisim-convert weights/fetch.sh
	@demo/run.sh $B
demo-lakh:
	@scripts/setup.sh build
	@$(MAKE) $(JOBS) --no-print-directory -s all
	@MIDISIM_CONVERT=$B/midisim-convert weights/fetch.sh midisimx-tiny
	@demo/lakh.sh $B

.PHONY: test test-slow asan
test test-slow:
	scripts/setup.sh test
	$(MAKE) $(JOBS) --no-print-directory all programs replay-programs $(if $(SAN),,emu emu-race $(if $(filter test-slow,$@),emu-asan))
	$(MAKE) --no-print-directory MPI=1 all
	$(if $(HAS_FUZZER),$(MAKE) $(JOBS) --no-print-directory -s CONFIG=fuzz CUDA=0 CC="$(CLANG)" fuzz-programs)
	$(if $(filter test-slow,$@),$(MAKE) $(JOBS) --no-print-directory -s CONFIG=tsan CUDA=0 all)
	@MIDISIM_CONVERT=$B/midisim-convert weights/fetch.sh || echo "make: no weights: tests that need them are skipped"
	test/run --config $(CONFIG) $(if $(filter test-slow,$@),--slow)

# Units and hostile inputs under the address and undefined-behaviour sanitizers; needs no weights. Kernels: make test-slow.
asan:
	scripts/setup.sh test
	$(MAKE) $(JOBS) --no-print-directory CONFIG=asan all programs replay-programs
	test/run --config asan --only unit,kept,hostile

# Each target of test/fuzz for FUZZ_SECONDS under the sanitizers of clang. Without it, FUZZ_COUNT files changed at random under
# those of $(CC): test/fuzz/mutate.c.
FUZZ_SECONDS ?= 60
FUZZ_COUNT ?= 100000
.PHONY: fuzz
fuzz:
	@$(MAKE) $(JOBS) --no-print-directory $(if $(HAS_FUZZER),fuzz-guided,fuzz-blind)

.PHONY: fuzz-guided fuzz-blind
fuzz-guided:
	$(MAKE) --no-print-directory CONFIG=fuzz CUDA=0 CC="$(CLANG)" fuzz-programs
	python3 test/fuzz/run.py --seconds $(FUZZ_SECONDS)

fuzz-blind:
	@echo "make: no clang with libFuzzer: blind mutation instead"
	$(MAKE) --no-print-directory CONFIG=asan build/asan/test/fuzz/mutate
	build/asan/test/fuzz/mutate --count $(FUZZ_COUNT) test/data

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
# build/gpu. GPU_CHECK, GPU_BENCH: more options. gpu-bundle makes what such a machine lacks when it has no network, and
# gpu-rehearsal runs the scripts of the day on which there is a card in a copy of it, with the emulator as the card.
.PHONY: gpu-check gpu-bench gpu-bundle gpu-rehearsal
gpu-check:
	@MAKE='$(MAKE)' python3 test/gpu/gpu_check.py --make $(GPU_CHECK)

gpu-bench:
	@MAKE='$(MAKE)' python3 bench/gpu_bench.py --make $(GPU_BENCH)

gpu-bundle: all
	scripts/gpu_bundle.py --build $B

gpu-rehearsal:
	scripts/setup.sh test
	@$(MAKE) $(JOBS) --no-print-directory -s all
	@build/venv/bin/python scripts/gpu_rehearsal.py --build $B

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

# Install, packages, tarball.
include packaging/packaging.mk

.SECONDARY:
.DELETE_ON_ERROR:
-include $(LIB_OBJ:.o=.d) $(TOOL_COMMON:.o=.d) $(TOOL_SRC:%.c=$B/%.d) $B/tools/midisim/main.d $(TEST_BIN:=.d) $B/test/fuzz/mutate.d \
    $(MPI_DIR)/ranks.d $(GPU_TEST:=.d) $B/test/gpu/driver.d $B/bench/gpu_bench.d $B/bench/gpu_read.d
