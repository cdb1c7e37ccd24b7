"""The report on machine code sees planted faults: a narrow store, local memory, no tensor cores, a kernel without a rule, and a
leave that is not needed any more."""
import struct
import sys

import golden_util as g

sys.path.insert(0, str(g.ROOT / "scripts"))
import gpu_sass  # noqa: E402

LDG, STG, LDL, HMMA, NOP, FFMA = 0x981, 0x986, 0x983, 0x23C, 0x918, 0x223
WIDE, NARROW = 6, 4  # bits 73 to 75: 16 bytes, 4


def instruction(operation, size=0):
    return struct.pack("<QQ", operation | 0xABC << 12, size << 9 | 0x1F << 41)


def cubin(code):
    """An ELF64 of two sections: names, and the machine code of _Z5k_one."""
    names = b"\0.shstrtab\0.text.k_one\0"
    at = 64 + len(names)
    data = b"\x7fELF\x02\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, at + len(code), 0, 64, 0, 0, 64, 3, 1)
    heads = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    heads += struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 64, len(names), 0, 0, 1, 0)
    heads += struct.pack("<IIQQQQIIQQ", 11, 1, 6, 0, at, len(code), 0, 0, 16, 0)
    return data + names + code + heads


def rows_of(kernel, code):
    ((_, text),) = gpu_sass.kernels(cubin(code))
    return [{"file": "a", "kernel": kernel, "arch": "sm_90", "counts": gpu_sass.count(text)}]


GOOD = (instruction(LDG, WIDE) + instruction(STG, WIDE) + instruction(HMMA) + instruction(FFMA) + instruction(LDG, NARROW) +
        instruction(NOP) * 3)


def test_counts():
    counts = rows_of("k_attend_bf16", GOOD)[0]["counts"]
    assert counts == {("all", 0): 5, ("LDG", 16): 1, ("LDG", 4): 1, ("STG", 16): 1, ("HMMA", 0): 1}


def test_faults():
    good = rows_of("k_attend_bf16", GOOD)
    assert not [*gpu_sass.check_wide(good), *gpu_sass.check_local(good), *gpu_sass.check_tensor(good)]
    narrow = rows_of("k_attend_bf16", GOOD + instruction(STG, NARROW))
    assert list(gpu_sass.check_wide(narrow)) == ["k_attend_bf16 on sm_90: 1 STG of 4 bytes"]
    local = rows_of("k_attend_bf16", GOOD + instruction(LDL, WIDE))
    assert list(gpu_sass.check_local(local)) == ["k_attend_bf16 on sm_90: 1 loads and stores of local memory"]
    without = rows_of("k_attend_bf16", GOOD.replace(instruction(HMMA), instruction(FFMA)))
    assert list(gpu_sass.check_tensor(without)) == ["k_attend_bf16 on sm_90: no HMMA"]
    assert "HMMA, which RULES does not say" in next(gpu_sass.check_tensor(rows_of("k_norm_f32", GOOD)))
    unused = rows_of("k_attend_bf16", GOOD.replace(instruction(LDG, NARROW), instruction(FFMA)))
    assert list(gpu_sass.check_wide(unused)) == ["k_attend_bf16: needs no leave for LDG of 4 bytes any more"]
    assert "k_scan_new has no rule" in list(gpu_sass.check_known(rows_of("k_scan_new<1>", GOOD)))
    assert any(line.startswith("no kernel is named") for line in gpu_sass.check_known(good))
