"""midisim-bench and the scripts around it: what they print and how they fail. No test asks how fast anything is."""
import csv
import json
import subprocess
import sys

import pytest
from cli_util import BUILD, ROOT, lines, midi, run, text

COMMON = {"bench", "case", "threads", "rounds", "machine", "date", "commit", "command"}
CSV = ["date", "machine", "commit", "command", "bench", "case", "device", "threads", "level", "precision", "metric",
       "unit", "best", "median", "rounds"]
STAGES = ("norms", "projections", "attention", "feed-forward", "pooling", "waiting")


def bench(*arguments, **more):
    done = run("bench", *arguments, "--json", "-r", "2", **more)
    assert done.returncode == 0, text(done)
    made = lines(done)
    for o in made:
        assert COMMON <= set(o) and o["rounds"] == 2 and o["threads"] >= 1
        for name, value in o.items():
            if name.endswith("_median"):
                assert isinstance(value, float | int) and name[:-len("_median")] in o
    return made


def check_rates(o, *names):
    """Best is not worse than the median, and positive."""
    assert 0 < o["seconds"] <= o["seconds_median"]
    for name in names:
        assert o[name] >= o[name + "_median"] > 0


def test_roof():
    made = bench("roof", "--megabytes", "8", "--threads", "2")
    assert {o["bench"] for o in made} == {"roof"}
    assert {o["threads"] for o in made if o["case"] == "read"} == {1, 2}
    for o in made:
        key = {"read": "gb_per_s", "dot-int8-512": "gop_per_s"}.get(o["case"], "gflop_per_s")
        assert o[key] >= o[key + "_median"] > 0


def test_join():
    o, = bench("join", "--rows", "300", "--dim", "20", "--threshold", "0.5", "--threads", "2", "--no-roof")
    assert (o["bench"], o["case"], o["components"]) == ("join", "300x20 s0.5", 64)
    check_rates(o, "pairs_per_s")
    assert o["pairs_per_s"] == pytest.approx(300 * 299 / 2 / o["seconds"])
    assert o["published_hours"] == pytest.approx(3480123 * 3480122 / 2 / o["pairs_per_s"] / 3600)
    assert 0 < o["hits"] <= o["scored"] < 300 * 299 / 2


def test_encoder(model):
    made = bench("encoder", "-m", model, "--lengths", "7,40", "--batch", "3", "--threads", "2", "--megabytes", "8")
    whole = [o for o in made if " " not in o["case"]]
    assert [o["case"] for o in whole] == ["7x3", "40x3"]
    # The model of the tests: dim 32, one head, one block.
    for o, length in zip(whole, (7, 40)):
        assert o["gflop"] == pytest.approx(3 * (2 * (4 * 32 * 64 + 8 * 32 * 32) * length + 4 * 64 * length**2) / 1e9)
        check_rates(o, "tokens_per_s", "gflop_per_s")
        assert o["tokens_per_s"] == pytest.approx(3 * length / o["seconds"])
        assert {"device", "level", "precision", "roof_share", "time_share"} <= set(o)
        stages = {s["case"].split()[1]: s for s in made if s["case"].startswith(o["case"] + " ")}
        assert set(stages) == set(STAGES)
        assert sum(s["time_share"] for s in stages.values()) == pytest.approx(1, abs=1e-3) or \
            stages["waiting"]["seconds"] == 0
        assert sum(s["gflop"] for s in stages.values()) == pytest.approx(o["gflop"])


def test_encoder_roof_share_can_be_left_out(model):
    whole = bench("encoder", "-m", model, "--lengths", "5", "--no-roof")[0]
    assert whole["roof_share"] is None


@pytest.mark.parametrize("more", (["--isa", "ref"], ["--precision", "f32"]))
def test_encoder_level_and_precision(model, more):
    whole = bench("encoder", "-m", model, "--lengths", "5", "--no-roof", *more)[0]
    assert whole[more[0].lstrip("-").replace("isa", "level")] == more[1]


def test_encoder_on_tokens(model, songs):
    tokens = run("tokens", songs).stdout
    for source, stdin in (("-", tokens), (songs / "tokens.jsonl", b"")):
        if stdin == b"":
            source.write_bytes(tokens)
        whole = bench("encoder", "-m", model, "--tokens", source, "--no-roof", stdin=stdin)[0]
        assert whole["case"] == "mixed 5" and whole["gflop"] > 0


def test_tokens(songs):
    (songs / "broken.mid").write_bytes(b"MThd")
    made = bench("tokens", songs, "--threads", "2")
    assert [o["threads"] for o in made] == [1, 2]
    for o in made:
        check_rates(o, "files_per_s", "mb_per_s", "tokens_per_s")
        assert o["files"] == 6 and o["without_tokens"] == 1 and o["tokens"] > 0
        assert o["bytes"] == sum(p.stat().st_size for p in songs.rglob("*.*") if p.suffix != ".txt")


def test_search():
    made = bench("search", "--rows", "300", "--dim", "24", "--queries", "1,3", "-k", "4", "--megabytes", "8")
    assert [o["case"] for o in made] == ["300x24 q1", "300x24 q3"]
    for o, n in zip(made, (1, 3)):
        check_rates(o, "queries_per_s", "gb_per_s")
        assert o["queries_per_s"] == pytest.approx(n / o["seconds"])
        assert o["read_share"] > 0
        assert o["evaluated"] == 300  # so few are all scored in double
    made = bench("search", "--rows", "4000", "--dim", "24", "--queries", "3,1", "--scan", "f64,f32,bf16,int8",
                 "--no-roof")
    assert [o["case"] for o in made] == [f"4000x24 q{n} {form}" for n in (3, 1) for form in ("f64", "f32", "bf16", "int8")]
    assert all(o["evaluated"] == 4000 if o["case"].endswith("f64") else 16 <= o["evaluated"] < 1000 for o in made)
    assert made[0].get("read_share") is None
    assert all(0 < o["open_seconds"] < 60 and 0 < o["private_mb"] < 200 for o in made)


def test_search_of_a_corpus(model, songs, tmp_path):
    assert run("embed", "-m", model, "-o", tmp_path / "c.npy", songs).returncode == 0
    assert bench("search", tmp_path / "c.npy", "--no-roof", "--queries", "2")[0]["case"] == "5x32 q2"


def test_embed(model, songs):
    made = bench("embed", "-m", model, songs, "--max-tokens", "9")
    assert [o["case"] for o in made] == [f"5 files to 9 {part}" for part in ("tokens alone", "encoder alone", "both")]
    for o in made:
        check_rates(o, "files_per_s", "tokens_per_s")
    assert made[2]["to_larger"] > 0 and made[2]["wait_seconds"] >= 0 and made[2]["encoder_seconds"] > 0


def test_table_and_csv(songs, tmp_path):
    for target in (tmp_path / "r.csv", tmp_path):
        for _ in range(2):
            done = run("bench", "tokens", songs, "-r", "1", "--csv", target, "--threads", "1")
            assert done.returncode == 0 and b"files/s" in done.stdout and b"5 files" in done.stdout
    files = sorted(tmp_path.glob("*.csv"))
    assert len(files) == 2
    for path in files:
        rows = list(csv.reader(path.open(newline="")))
        assert rows[0] == CSV and len(rows) == 1 + 2 * 8 and all(len(r) == len(CSV) for r in rows)
        assert rows[1][3].startswith("midisim-bench tokens ")


@pytest.mark.parametrize("wrong", (["speed"], ["roof", "x"], ["tokens"], ["embed"], ["encoder", "x"],
                                   ["search", "a.npy", "b.npy"], ["roof", "-r", "0"], ["encoder", "--lengths", "12,"],
                                   ["encoder", "--lengths", "0"], ["encoder", "--lengths", "1,x"],
                                   ["search", "--queries", "1;2"], ["encoder", "--tokens", "t", "--lengths", "3"],
                                   ["search", "--scan", "f32,f16"], ["search", "--scan", "f32,"],
                                   ["search", "--rows", "0"], ["search", "--devices", "cpu,gpu"],
                                   ["search", "--devices", "cpu", "--device", "cpu"], ["search", "--devices", "cpu,"]))
def test_wrong_use(wrong, model):
    done = run("bench", *wrong, *(["-m", model] if wrong[0] == "encoder" else []))
    assert done.returncode == 2 and done.stdout == b""
    assert text(done).startswith("midisim-bench: ") and text(done).count("\n") == 1


def test_devices(model, songs):
    """Several in one run; one that does not open says so in one line, and the others are measured."""
    for part in (["encoder", "-m", model, "--lengths", "3"], ["search", "--rows", "300", "--dim", "24"], ["embed", "-m", model, songs]):
        done = run("bench", *part, "--devices", "cpu,cuda:1023,cpu", "-r", "1", "--megabytes", "8", "--json")
        cases = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 1 and {o["device"] for o in cases} == {"cpu"}
        assert [o["case"] for o in cases[:len(cases) // 2]] == [o["case"] for o in cases[len(cases) // 2:]]
        said = [line for line in text(done).splitlines() if "cuda" in line]
        assert len(said) == 1 and said[0].startswith("midisim-bench: device: ")


def test_failures(tmp_path, model):
    (tmp_path / "bad.npy").write_bytes(b"no array")
    (tmp_path / "none.jsonl").write_bytes(b"")
    (tmp_path / "d").mkdir()
    for wrong in (["tokens", tmp_path / "d"], ["tokens", tmp_path / "absent.mid"], ["search", tmp_path / "bad.npy"],
                  ["encoder", "-m", tmp_path / "bad.npy"], ["encoder", "-m", model, "--tokens", tmp_path / "none.jsonl"],
                  ["encoder", "-m", model, "--tokens", tmp_path / "absent"], ["embed", "-m", model, tmp_path / "d"],
                  ["roof", "--csv", tmp_path / "no" / "where.csv"]):
        done = run("bench", *wrong, "-r", "1", "--megabytes", "8")
        assert done.returncode == 1 and done.stdout == b"", wrong
        assert text(done).splitlines()[-1].startswith("midisim-bench: ")


# ---- Scripts --------------------------------------------------------------------------------------------------------


def script(name, *arguments, **more):
    return subprocess.run([sys.executable, ROOT / "bench" / name, *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, **more)


def test_smoke(model):
    done = script("smoke.py", "--build", BUILD, "--quick", "--model", model)
    assert done.returncode == 0, done.stderr
    head, *rest = done.stdout.splitlines()
    assert "recorded" in head
    assert {line.split()[0] for line in rest} == {"roof", "encoder", "tokens,", "tokens", "search"}


COMMON_PY = '''
import contextlib, io
def quiet(): return contextlib.redirect_stdout(io.StringIO())
def load_midisim(): raise ImportError("no original here")
'''


def test_compare(tmp_path, songs, model):
    """NumPy is there; the others are not, which voids their rows and nothing else."""
    (tmp_path / "common.py").write_text(COMMON_PY)
    for name in ("faiss", "usearch", "torch"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not installed')")
    done = script("compare.py", "--peers", tmp_path, "--build", BUILD, "--only", "search,tokens", "--rounds", "2",
                  "--rows", "200", "--dim", "16", "--midi", songs, "--csv", tmp_path / "out.csv")
    assert done.returncode == 1
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0][0] == "work" and all(len(r) == 8 for r in rows)
    made = {(r[0], r[1]): r for r in rows[1:]}
    for n in ("12", "12 int8", "1", "1 int8"):
        work = f"search 200x16 q{n}"
        assert float(made[work, "numpy"][6]) > 0
        for void in ("faiss-flat", "usearch-exact", "original-topk", "fastest"):
            assert made[work, void][6:] == ["VOID", "VOID"]
    assert made["tokens 5 files", "original-tokens"][6] == "VOID"
    assert "VOID: search 200x16 q12: faiss-flat did not run: ImportError: not installed" in done.stderr
    recorded = list(csv.DictReader((tmp_path / "out.csv").open(newline="")))
    assert {r["case"] for r in recorded if r["metric"] == "ratio" and "search" in r["case"]} == \
        {f"search 200x16 q{n} numpy" for n in ("12", "12 int8", "1", "1 int8")}


def test_compare_wrong_use(tmp_path):
    assert script("compare.py", "--peers", tmp_path).returncode == 2
    assert script("compare.py", "--only", "lunch", "--peers", tmp_path).returncode == 2


def test_plot(tmp_path):
    results = tmp_path / "r.csv"
    row = dict.fromkeys(CSV, "") | {"date": "2026-01-01T00:00:00Z", "machine": "a CPU", "commit": "c", "threads": "2",
                                    "bench": "encoder", "case": "512", "device": "cpu", "level": "avx2",
                                    "precision": "bf16", "metric": "gflop_per_s", "best": "100", "rounds": "5"}
    with results.open("w", newline="") as file:
        writer = csv.DictWriter(file, CSV)
        writer.writeheader()
        writer.writerow(row)
        writer.writerow(row | {"bench": "roof", "case": "fma-f32-256", "best": "150"})
        writer.writerow(row | {"bench": "compare", "case": "encoder 512 numpy", "metric": "ratio", "median": "2"})
    done = script("plot.py", results, "-o", tmp_path / "r.png")
    if "needs matplotlib" in done.stderr:
        pytest.skip("no matplotlib")
    assert done.returncode == 0 and (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    assert script("plot.py", tmp_path / "absent.csv", "-o", tmp_path / "r.png").returncode == 1
