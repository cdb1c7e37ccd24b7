"""midisim-groups where it is easily wrong: files that come back, paths that lead to one file, inputs that are not there."""
import os
import subprocess

from cli_util import ENV, text
from test_find import tune
from test_groups import _cache, groups, names_by_group, write  # noqa: F401 (the cache of each test)


def thinned(seed):
    """Another version of tune(seed), whose notes agree with most of it."""
    return [p for i, p in enumerate(tune(seed)) if i % 12]


# ---- From run to run -------------------------------------------------------------------------------------------------


def test_what_comes_back_is_compared(tmp_path):
    """A file that was gone when a new one was compared is compared with the new one, once."""
    write(tmp_path / "in", {"a.mid": tune(1), "c.mid": tune(2)})
    groups(tmp_path, "in")
    (tmp_path / "in/a.mid").rename(tmp_path / "a.mid")
    write(tmp_path / "in", {"b.mid": thinned(1)})
    groups(tmp_path, "in")
    (tmp_path / "a.mid").rename(tmp_path / "in/a.mid")
    done = groups(tmp_path, "in")
    assert names_by_group(done) == [["a.mid", "b.mid"]] and "; 1 compared, 2 known" in text(done)
    assert "; 0 compared, 3 known" in text(groups(tmp_path, "in"))
    (tmp_path / "in/a.mid").rename(tmp_path / "a.mid")  # gone while nothing is compared: it stays known
    groups(tmp_path, "in")
    (tmp_path / "a.mid").rename(tmp_path / "in/a.mid")
    assert "; 0 compared, 3 known" in text(groups(tmp_path, "in"))


def test_new_files_of_the_first_collection(tmp_path):
    """A file that is new in TRAIN is compared with what is known of TEST."""
    write(tmp_path / "train", {"a.mid": tune(1), "z.mid": tune(3)})
    write(tmp_path / "test", {"b.mid": tune(2)})
    assert "; 1 compared" in text(groups(tmp_path, "--leaks", "train", "test"))
    assert "; 0 compared" in text(groups(tmp_path, "--leaks", "train", "test"))
    write(tmp_path / "train", {"c.mid": thinned(2)})
    done = groups(tmp_path, "--leaks", "train", "test", code=3)
    assert done.stdout.decode().splitlines()[1].split("\t")[:3] == ["piece", "b.mid", "c.mid"]
    assert "; 1 compared" in text(done) and "; 0 compared" in text(groups(tmp_path, "--leaks", "train", "test", code=3))


def test_one_state_for_all(tmp_path):
    """One --state for several collections: what was never compared is compared, whatever is known of each file."""
    for i, folder in enumerate(("x", "y")):
        write(tmp_path / folder, {"a.mid": thinned(1) if i else tune(1), "o.mid": tune(5 + i)})
        groups(tmp_path, "--state", "s", folder)
    assert names_by_group(groups(tmp_path, "--state", "s", "x", "y")) == [["x/a.mid", "y/a.mid"]]
    write(tmp_path / "z", {"n.mid": tune(9)})
    groups(tmp_path, "--state", "t", "--leaks", "x", "z")
    groups(tmp_path, "--state", "t", "--leaks", "y", "z")
    assert names_by_group(groups(tmp_path, "--state", "t", "x", "y", "z")) == [["x/a.mid", "y/a.mid"]]
    groups(tmp_path, "--state", "t", "--leaks", "y", "x", code=3)


# ---- Paths -----------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_not_moved(tmp_path):
    """Another path to the file that is kept stays, and so does a file that a kept link leads to."""
    write(tmp_path / "in", {"real/x.mid": tune(1), "real/y.mid": tune(2), "copy.mid": tune(3), "copy2.mid": tune(3)})
    (tmp_path / "again").symlink_to("in")
    (tmp_path / "in/a link.mid").symlink_to("real/y.mid")
    (tmp_path / "in/x link.mid").symlink_to("real/x.mid")
    (tmp_path / "keepers").write_text("*/a link.mid\n*/real/*\n")
    done = groups(tmp_path, "--keep", "keepers", "--move", "away", "again", "in")
    assert "paths stay" in text(done) and "moved 2 of 4 files" in text(done) and text(done).count("not there any more") == 2
    assert sorted(p.name for p in (tmp_path / "away").rglob("*.mid")) == ["copy2.mid", "x link.mid"]
    assert (tmp_path / "in/a link.mid").exists() and (tmp_path / "in/real/x.mid").exists()
    assert (tmp_path / "in/copy.mid").exists()
    subprocess.run(["sh", "away/undo.sh"], cwd=tmp_path, env=ENV, check=True)
    assert (tmp_path / "in/x link.mid").exists() and (tmp_path / "in/copy2.mid").exists()


def test_what_is_not_read_is_no_success(tmp_path):
    """A folder that is not there is no collection without leaks; a pipe is not waited for."""
    write(tmp_path / "in", {"a.mid": tune(1)})
    for arguments in (["--leaks", "in", "typo"], ["--leaks", "typo", "in"], ["in", "typo"]):
        said = text(groups(tmp_path, *arguments, code=1))
        assert "unreadable: typo" in said and "1 files could not be read: --skipped" in said
    os.mkfifo(tmp_path / "in/pipe.mid")
    groups(tmp_path, "--skipped", "s", "in", code=1, limit=20)
    assert "in/pipe.mid\tnot-regular" in (tmp_path / "s").read_text()
