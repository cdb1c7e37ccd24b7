"""MD5s of files and of their canonical form: the original's, on every shipped file."""
import hashlib

import golden_util as g


def golden_md5s():
    """{path: (original_md5, normalized_md5)}"""
    rows = [line.rstrip("\n").split(" ", 2) for line in open(g.HERE / "normalized_md5.txt", encoding="utf-8") if line[0] != "#"]
    return {path: (before, after) for before, after, path in rows}


def test_md5():
    golden = golden_md5s()
    done = g.run([g.tool("tokens"), "--md5", "--", *golden], cwd=g.SHIPPED)
    got = {o["path"]: o for o in map(g.json.loads, done.stdout.splitlines())}
    assert len(golden) == 177 and list(got) == list(golden)
    for path, (before, after) in golden.items():
        assert (got[path]["original_md5"], got[path]["normalized_md5"]) == (before, after), path


def test_written_files(tmp_path):
    golden = golden_md5s()
    g.run([g.tool("tokens"), "--normalize-midi", str(tmp_path), "--", *golden], cwd=g.SHIPPED)
    for path, (_, after) in golden.items():
        assert hashlib.md5((tmp_path / path).read_bytes()).hexdigest() == after, path
