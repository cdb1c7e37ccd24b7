# CUDA in the build, included by the Makefile: kernels where nvcc is found, stub.c alone where it is not.
#   CUDA=0: without it   NVCC: the compiler (default: on PATH, then /usr/local/cuda/bin)   CUDART: libcudart_static.a
#   NVCC_FLAGS: more flags (-lineinfo: lines of the source for profilers, at twice the size)
#   GPU_ARCHS, GPU_PTX: architectures compiled for, and those that a driver can compile for later. For one's own card,
#   and quicker: GPU_ARCHS=native
# The runtime is linked statically and opens the driver when it is first asked for a device, so nothing that is built
# here names a library of CUDA. With CONFIG=asan there is no CUDA: the sanitizers see the kernels in test/emu.
CUDA      ?= 1
GPU_ARCHS ?= 80 86 89 90a
GPU_PTX   ?= $(if $(filter native,$(GPU_ARCHS)),,80 90)

GPU_CU   := $(sort $(wildcard src/kernels/*.cu src/kernels/*/*.cu))
GPU_C    := $(sort $(filter-out src/kernels/stub.c,$(wildcard src/kernels/*.c src/kernels/*/*.c)))
GPU_STUB := src/kernels/stub.c

ifeq ($(CUDA),0)
CUDA_SAYS := off (CUDA=0)
else ifdef SAN
CUDA_SAYS := off (CONFIG=$(CONFIG))
else
NVCC := $(or $(NVCC),$(shell command -v nvcc),$(wildcard /usr/local/cuda/bin/nvcc))
ifeq ($(NVCC),)
CUDA_SAYS := off (no nvcc on PATH or in /usr/local/cuda/bin)
else
NVCC_VERSION := $(shell $(NVCC) --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
ifeq ($(NVCC_VERSION),)
$(error NVCC: expected a CUDA compiler, got '$(NVCC)')
endif
CUDA_HOME := $(patsubst %/bin/,%,$(dir $(realpath $(shell command -v $(NVCC)))))
CUDART    ?= $(firstword $(wildcard $(addsuffix /libcudart_static.a,$(CUDA_HOME)/lib64 $(CUDA_HOME)/targets/*/lib \
                 $(CUDA_HOME)/lib /usr/lib/*-linux-gnu)))
ifeq ($(shell [ "$(firstword $(subst ., ,$(NVCC_VERSION)))" -ge 12 ] && echo new),)
CUDA_SAYS := off ($(NVCC) is of release $(NVCC_VERSION); expected 12 or later)
else ifeq ($(wildcard $(CUDART)),)
CUDA_SAYS := off ($(NVCC) has no libcudart_static.a under $(CUDA_HOME); CUDART= names one)
else
CUDA_SAYS := $(NVCC) $(NVCC_VERSION) for $(GPU_ARCHS)$(if $(GPU_PTX), and PTX $(GPU_PTX))
HAS_CUDA  := 1
endif
endif
endif

# Said once, by the make that was called.
ifeq ($(MAKELEVEL)$(filter clean uninstall gpu-check gpu-bench,$(MAKECMDGOALS)),0)
$(info make: CUDA: $(CUDA_SAYS))
endif

ifdef HAS_CUDA
comma   := ,
GENCODE := $(if $(filter native,$(GPU_ARCHS)),-arch=native) \
    $(foreach a,$(filter-out native,$(GPU_ARCHS)),-gencode arch=compute_$a$(comma)code=sm_$a) \
    $(foreach a,$(GPU_PTX),-gencode arch=compute_$a$(comma)code=compute_$a)
# The host half of a .cu file is C++ that needs no C++ library: no exceptions, no type names, no locks for statics.
NVCC_HOST := -fPIC -fvisibility=hidden -ffp-contract=off -fno-exceptions -fno-rtti -fno-threadsafe-statics -Wall -Wextra
empty   :=
space   := $(empty) $(empty)
# --fmad=false: a multiply-add is fused where a kernel says so, and nowhere else.
NVCC_COMPILE = $(NVCC) -std=c++17 -O3 --fmad=false $(GENCODE) -Iinclude -Isrc -DMSIM_BUILD -cudart static \
    -Xcompiler $(subst $(space),$(comma),$(strip $(NVCC_HOST))) -Xptxas -v $(NVCC_FLAGS)
# Not in the stamp: what only stops a build makes no other object, and these take their time.
NVCC_STRICT := $(if $(WERROR)$(filter true,$(CI)),-Werror all-warnings -Xptxas -Werror -Xcompiler -Werror)

LIB_SRC := $(filter-out $(GPU_STUB),$(LIB_SRC))
LIB_OBJ := $(LIB_SRC:%.c=$B/%.o) $(GPU_CU:%.cu=$B/%.o)
LIBS    += -ldl -lrt
$(eval $(call STAMP,nvcc,$$(NVCC_COMPILE) $$(NVCC_VERSION)))

# What ptxas says (registers, spills, shared memory) is kept beside the object; anything else it says is shown.
$B/%.o: %.cu $B/stamp.nvcc
	@mkdir -p $(@D)
	$(NVCC_COMPILE) $(NVCC_STRICT) -MMD -MP -MF $(@:.o=.d) -c $< -o $@ 2>$(@:.o=.ptxas) \
	    || { cat $(@:.o=.ptxas) >&2; false; }
	@grep -Ev '^ptxas info|^    [0-9]+ bytes stack frame' $(@:.o=.ptxas) >&2 || true

CUDA_INCLUDE := $(firstword $(wildcard $(CUDA_HOME)/include $(CUDA_HOME)/targets/*/include) /usr/include)
$B/src/kernels/encoder/blaslt.o: private ISA := -isystem $(CUDA_INCLUDE)
# Not in CPPFLAGS, which make's command line may set: nothing here would be added to it then.
$(foreach b,$B build/emu build/emu-race build/emu-asan,$b/test/gpu/test_blaslt.o): private TESTS := -Itest -isystem $(CUDA_INCLUDE)
else
LIB_SRC := $(filter-out $(GPU_C),$(LIB_SRC))
LIB_OBJ := $(LIB_SRC:%.c=$B/%.o)
CUDART  :=
endif

# Programs that test kernels, for a machine with a GPU.
GPU_TEST := $(patsubst test/%.c,$B/test/%,$(sort $(wildcard test/gpu/test_*.c)))
.PHONY: gpu-programs
gpu-programs: $(GPU_TEST)
