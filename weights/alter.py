#!/usr/bin/env python3
"""Writes altered copies of MIDI files: what a fit learns as 'does not matter' (docs/WHITENING.md).   (needs mido)

  weights/alter.py --root MUSIC --files-from LIST --every N OUT

LIST names files below MUSIC, one per line. Of every Nth, OUT/performed/NAME is a copy as a player would play it, and
OUT/quantized/NAME one on a coarse grid:

  performed   another tempo, which wanders; each onset moved by 5 to 30 ms (standard deviation); durations longer or
              shorter, for half of the files with a pedal
  quantized   onsets and durations on a grid of 62.5, 80, 100 or 125 ms

Files that cannot be read, or have fewer than 60 notes, are left out; of longer ones the first 2,000 notes are taken, more
than the model reads. The same file gives the same copies.
"""
import argparse
import bisect
import math
import pathlib
import random
import sys

import mido

LEAST, MOST = 60, 2000  # notes
TICKS = 960  # per second
DRUMS = 9


def read(path):
    """Notes [onset, duration, channel, pitch, velocity] in seconds, and (time, channel, program)."""
    now, sounding, notes, programs = 0.0, {}, [], []
    for message in mido.MidiFile(path, clip=True):
        now += message.time
        if message.type == "note_on" and message.velocity:
            sounding.setdefault((message.channel, message.note), []).append((now, message.velocity))
        elif message.type in ("note_on", "note_off"):
            begun = sounding.get((message.channel, message.note))
            if begun:
                onset, velocity = begun.pop(0)
                notes.append([onset, now - onset, message.channel, message.note, velocity])
        elif message.type == "program_change":
            programs.append((now, message.channel, message.program))
        if len(notes) >= MOST:
            break
    return sorted(notes), programs


def write(path, notes, programs):
    events = [(round(time * TICKS), 0, mido.Message("program_change", channel=channel, program=program))
              for time, channel, program in programs]
    for onset, duration, channel, pitch, velocity in notes:
        begin = round(onset * TICKS)
        end = max(begin + 10, round((onset + duration) * TICKS))
        events.append((begin, 2, mido.Message("note_on", channel=channel, note=pitch, velocity=velocity)))
        events.append((end, 1, mido.Message("note_off", channel=channel, note=pitch)))
    file, track, now = mido.MidiFile(ticks_per_beat=TICKS // 2), mido.MidiTrack(), 0
    for time, _, message in sorted(events, key=lambda event: event[:2]):
        message.time, now = time - now, time
        track.append(message)
    file.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save(path)


def wandering(end, chance):
    """A map of times 0 .. end to those of a player, whose tempo is another and wanders from second to second."""
    tempo, wander, drift = math.exp(chance.gauss(0, 0.25)), chance.uniform(0.03, 0.12), 0.0
    knots, played = [0.0], [0.0]
    while knots[-1] <= end:
        step = chance.uniform(0.5, 1.5)
        drift = 0.85 * drift + chance.gauss(0, wander)
        knots.append(knots[-1] + step)
        played.append(played[-1] + step * tempo * math.exp(drift))

    def at(time):
        i = min(len(knots) - 2, bisect.bisect_right(knots, time) - 1)
        return played[i] + (time - knots[i]) / (knots[i + 1] - knots[i]) * (played[i + 1] - played[i])

    return at


def performed(notes, programs, chance):
    at = wandering(max(onset + duration for onset, duration, *_ in notes), chance)
    apart, legato, uneven = chance.uniform(0.005, 0.03), math.exp(chance.gauss(0, 0.35)), chance.uniform(0.1, 0.4)
    has_pedal, played = chance.random() < 0.5, []
    for onset, duration, *note in notes:
        length = (at(onset + duration) - at(onset)) * legato * math.exp(chance.gauss(0, uneven))
        if has_pedal and note[0] != DRUMS:
            length += chance.expovariate(1 / 0.35)
        played.append([max(0.0, at(onset) + chance.gauss(0, apart)), max(0.03, length), *note])
    return sorted(played), [(at(time), channel, program) for time, channel, program in programs if time <= notes[-1][0]]


def quantized(notes, programs, chance):
    grid = chance.choice([0.0625, 0.08, 0.1, 0.125])
    return sorted([round(onset / grid) * grid, max(1, round(duration / grid)) * grid * 0.95, *note]
                  for onset, duration, *note in notes), programs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--files-from", type=pathlib.Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    written, names = 0, args.files_from.read_text().splitlines()[::args.every]
    for name in names:
        if pathlib.PurePath(name).is_absolute() or ".." in pathlib.PurePath(name).parts:
            parser.error(f"{args.files_from}: expected names below {args.root}, got {name!r}")
        try:
            notes, programs = read(args.root / name)
        except Exception as error:  # mido raises what it meets
            print(f"alter.py: left out: {name!r}: {error!r:.100}", file=sys.stderr)
            continue
        if len(notes) < LEAST:
            continue
        for make in (performed, quantized):
            write(args.out / make.__name__ / name, *make(notes, programs, random.Random(f"{make.__name__} {name}")))
        written += 1
    print(f"alter.py: {written} of {len(names)} files, two copies of each")
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
