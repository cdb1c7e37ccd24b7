"""The CSV rows that midisim-bench and compare.py append to bench/results, one file for each machine."""
import csv
import pathlib
import re

COLUMNS = ("date", "machine", "commit", "command", "bench", "case", "device", "threads", "level", "precision", "metric",
           "unit", "best", "median", "rounds")
RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def machine_file(machine):
    """The file that `midisim-bench --csv bench/results` writes to on this machine."""
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", machine.lower()).lstrip("-") + ".csv")


def load(path):
    """Rows as dictionaries with numbers where there are some; [] when there is no such file."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    for row in rows:
        for name in ("best", "median", "threads", "rounds"):
            row[name] = float(row[name]) if row[name] else None
    return rows


def last(rows, **wanted):
    """The newest row whose columns have these values, or None."""
    fits = [r for r in rows if all(str(r[k]) == str(v) for k, v in wanted.items())]
    return max(fits, key=lambda r: r["date"], default=None)


def append(path, rows):
    path = pathlib.Path(path)
    is_new = not path.exists() or path.stat().st_size == 0
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
