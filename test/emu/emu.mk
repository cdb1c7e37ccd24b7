# The kernels on a CPU: src/kernels/*.cu compiled as C++ against test/emu, the backend's C files, and every other object of
# build/release. Needs a C++ compiler and no CUDA. Included by the Makefile; docs/GPU.md.
#   make emu        build/emu: as fast as it goes, and the tools with the emulator as their GPU
#   make emu-race   build/emu-race: every access of shared and device memory checked for races and bytes never written
#   make emu-asan   build/emu-asan: address and undefined-behaviour sanitizers
# Tests: test/gpu/test_*.c (they run on a GPU too) and test/emu/test_*.cpp (of the emulator). No link-time optimisation
# here: a barrier must stay a call that the compiler cannot see through.
CXX          ?= g++
CXXFLAGS     ?= -O2 -g
EMU_MODES    := emu emu-race emu-asan
EMU_CXX      := -std=c++17 -fno-lto -fno-exceptions -fno-strict-aliasing -ffp-contract=off -fno-math-errno -Wall -Wextra \
                -Wshadow -Wno-unknown-pragmas -Itest/emu -Iinclude -Isrc -Itools -DMSIM_BUILD $(if $(filter -Werror,$(OURS)),-Werror)
EMU_SAN      := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
EMU_CLANG    := $(findstring clang,$(shell $(CXX) --version 2>/dev/null))
# Loops stay loops there: a call of memset would not be seen.
EMU_TSAN     := -fsanitize=thread $(if $(EMU_CLANG),-fno-builtin,-fno-tree-loop-distribute-patterns) \
                $(if $(EMU_CLANG),-mllvm,--param) $(if $(EMU_CLANG),-)tsan-instrument-func-entry-exit=0
EMU_CXX      += $(if $(EMU_CLANG),-Wno-pass-failed)
$(eval $(call STAMP,emu,$$(CXX) $$(EMU_CXX) $$(CXXFLAGS) $$(CC)))

EMU_CU       := $(sort $(wildcard src/kernels/*.cu src/kernels/*/*.cu))
EMU_BACKEND  := $(filter-out src/kernels/stub.c src/kernels/encoder/blaslt.c,$(sort $(wildcard src/kernels/*.c src/kernels/*/*.c)))
EMU_C        := $(EMU_BACKEND) $(sort $(wildcard test/emu/*_none.c))
EMU_OWN      := $(filter-out test/emu/test_%,$(sort $(wildcard test/emu/*.cpp)))
EMU_TEST     := $(patsubst %.c,%,$(sort $(wildcard test/gpu/test_*.c))) $(patsubst %.cpp,%,$(sort $(wildcard test/emu/test_*.cpp)))
EMU_EXTRA    := $(patsubst %.c,%,$(wildcard test/gpu/driver.c bench/gpu_bench.c))
EMU_OTHER    := $(filter-out $B/src/kernels/%,$(LIB_OBJ))
EMU_TOOLS    := embed search bench

# $(1): mode; $(2): flags of everything it compiles; $(3): of kernels and what else runs as one; $(4): of the emulator.
define EMU_MODE
build/$(1)/%.o: %.cu $B/stamp.flags $B/stamp.emu test/emu/emu.mk
	@mkdir -p $$(@D)
	$$(CXX) $$(CPPFLAGS) $(EMU_CXX) $$(CXXFLAGS) $(2) $(3) -MMD -MP -x c++ -c $$< -o $$@

build/$(1)/%.o: %.c $B/stamp.flags $B/stamp.emu test/emu/emu.mk
	@mkdir -p $$(@D)
	$$(COMPILE) $(2) -MMD -MP -c $$< -o $$@

build/$(1)/test/emu/test_%.o: test/emu/test_%.cpp $B/stamp.flags $B/stamp.emu test/emu/emu.mk
	@mkdir -p $$(@D)
	$$(CXX) $$(CPPFLAGS) $(EMU_CXX) $$(CXXFLAGS) $(2) $(3) -MMD -MP -c $$< -o $$@

build/$(1)/test/emu/emu_%.o: test/emu/emu_%.cpp $B/stamp.flags $B/stamp.emu test/emu/emu.mk
	@mkdir -p $$(@D)
	$$(CXX) $$(CPPFLAGS) $(EMU_CXX) $$(CXXFLAGS) $(2) $(4) -MMD -MP -c $$< -o $$@

build/$(1)/libemu.a: $(EMU_CU:%.cu=build/$(1)/%.o) $(EMU_C:%.c=build/$(1)/%.o) $(EMU_OWN:%.cpp=build/$(1)/%.o) $(EMU_OTHER)
	@rm -f $$@
	$$(AR) rcs $$@ $$^

build/$(1)/test/%: build/$(1)/test/%.o build/$(1)/libemu.a
	$$(CXX) $$(CXXFLAGS) $(2) $$(LDFLAGS) -o $$@ $$^ -lcmocka $$(LIBS)

build/$(1)/bench/gpu_bench: build/$(1)/bench/gpu_read.o
build/$(1)/bench/%: build/$(1)/bench/%.o build/$(1)/libemu.a
	$$(CXX) $$(CXXFLAGS) $(2) $$(LDFLAGS) -o $$@ $$^ $$(LIBS)

.PHONY: $(1)
$(1): $(EMU_TEST:%=build/$(1)/%) $(EMU_EXTRA:%=build/$(1)/%)

-include $(EMU_CU:%.cu=build/$(1)/%.d) $(EMU_C:%.c=build/$(1)/%.d) $(EMU_OWN:%.cpp=build/$(1)/%.d) \
         $(EMU_TEST:%=build/$(1)/%.d) $(EMU_EXTRA:%=build/$(1)/%.d)
endef

$(eval $(call EMU_MODE,emu,,,-O3))
$(eval $(call EMU_MODE,emu-race,-DEMU_RACE,$(EMU_TSAN),))
$(eval $(call EMU_MODE,emu-asan,-O1 -DEMU_ASAN $(EMU_SAN),,))

# The tools as they are, on the emulator.
EMU_BIN := $(EMU_TOOLS:%=build/emu/midisim-%)
$(foreach t,$(EMU_TOOLS),$(eval build/emu/midisim-$t: $$(call tool_obj,$t)))
$(EMU_BIN): build/emu/midisim-%: $(TOOL_COMMON) build/emu/libemu.a
	$(CXX) $(CXXFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

emu: $(EMU_BIN)
emu-race emu-asan: # by EMU_MODE
