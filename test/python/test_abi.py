"""The structs of ctypes are those of include/midisim.h, to the byte."""
import ctypes
import subprocess
import sys

from cli_util import ROOT

sys.path.insert(0, str(ROOT / "python"))
import generate_abi
from midisim_native import _abi
from midisim_native._library import lib


def test_the_committed_file_is_what_the_header_asks_for():
    done = subprocess.run([sys.executable, ROOT / "python/generate_abi.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_new_field_changes_the_file():
    text = generate_abi.HEADER.read_text()
    lines = list(generate_abi.Header(text).lines())
    grown = text.replace("} msim_error;", "    int64_t planted;\n} msim_error;")
    assert grown != text
    assert set(generate_abi.Header(grown).lines()) - set(lines) == {'        ("planted", c_int64),'}


def test_sizes_and_offsets_are_those_of_the_compiler(tmp_path):
    structs = {name: kind for name, kind in vars(_abi).items() if isinstance(kind, type) and kind.__name__.startswith("msim_")
               and issubclass(kind, ctypes.Structure)}
    assert len(structs) > 40
    ours, asked = [], []
    for name, kind in structs.items():
        ours.append(ctypes.sizeof(kind))
        asked.append(f"sizeof({name})")
        for field, *_ in kind._fields_:
            ours += [getattr(kind, field).offset, getattr(kind, field).size]
            asked += [f"offsetof({name}, {field})", f"sizeof((({name} *)0)->{field})"]
    constants = [name for name, value in vars(_abi).items() if name.startswith("MSIM_") and isinstance(value, int)]
    ours += [getattr(_abi, name) for name in constants]
    asked += constants
    source = tmp_path / "sizes.c"
    source.write_text('#include <stdio.h>\n#include "midisim.h"\nint main(void) {\n' +
                      "".join(f'    printf("%lld\\n", (long long){what});\n' for what in asked) + "    return 0;\n}\n")
    subprocess.run(["cc", "-O0", f"-I{ROOT / 'include'}", "-o", tmp_path / "sizes", source], check=True)
    theirs = [int(line) for line in subprocess.run([tmp_path / "sizes"], check=True, capture_output=True).stdout.split()]
    assert [w for w, a, b in zip(asked, ours, theirs) if a != b] == [] and len(ours) == len(theirs)


def test_every_function_is_there():
    assert len(_abi.FUNCTIONS) > 200
    assert all(hasattr(lib, name) for name in _abi.FUNCTIONS)
    assert lib.msim_version().decode() == _abi.MSIM_VERSION
