#!/usr/bin/env python3
"""Make demo/midi/love, third up.mid out of freedink's love.mid: what another arrangement of a piece may look like.

  make_variation.py IN.mid OUT.mid

Changes, all of them: every note three semitones up (drums stay), 5 % slower, every twentieth note left out, and a
text event that says so. The source is (c) 1997 Seth A. Robinson under the zlib licence, which asks that altered
versions be marked; the result stays under it (test/data/midi/LICENSES/freedink.zlib.txt).
"""
import sys

SEMITONES, SLOWER, LEAVE_OUT = 3, 1.05, 20
NOTICE = (b"Altered copy of love.mid of FreeDink, (c) 1997 Seth A. Robinson, zlib licence: "
          b"three semitones up, 5 % slower, every twentieth note left out")


def read_varlen(data, at):
    value = 0
    while True:
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at


def varlen(value):
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def events(track):
    """(delta, status, data) for each event; running status is spelled out."""
    at, status = 0, 0
    while at < len(track):
        delta, at = read_varlen(track, at)
        if track[at] >= 0x80:
            status = track[at]
            at += 1
        if status == 0xFF:
            size, end = read_varlen(track, at + 1)
            end += size
        elif status in (0xF0, 0xF7):
            size, end = read_varlen(track, at)
            end += size
        else:
            end = at + (1 if status >> 4 in (0xC, 0xD) else 2)
        yield delta, status, track[at:end]
        at = end


def vary(track, counter):
    """The track with the changes; dropped events hand their delta time to the next one."""
    out, carried, dropped = bytearray(), 0, set()
    for delta, status, data in events(track):
        delta += carried
        carried = 0
        kind, channel = status >> 4, status & 15
        if kind in (8, 9, 10) and channel != 9:
            key = (channel, data[0])
            if kind == 9 and data[1]:
                counter[0] += 1
                dropped.discard(key)
                if counter[0] % LEAVE_OUT == 0:
                    dropped.add(key)
            if key in dropped:
                carried = delta
                continue
            data = bytes([data[0] + SEMITONES, data[1]])
        elif status == 0xFF and data[0] == 0x51:
            data = data[:2] + round(int.from_bytes(data[2:], "big") * SLOWER).to_bytes(3, "big")
        out += varlen(delta) + bytes([status]) + data
    return bytes(out)


def main(source, target):
    data = open(source, "rb").read()
    assert data[:4] == b"MThd"
    out, at, counter = bytearray(data[:14]), 14, [0]
    while data[at:at + 4] == b"MTrk":
        size = int.from_bytes(data[at + 4:at + 8], "big")
        track = vary(data[at + 8:at + 8 + size], counter)
        if at == 14:
            track = b"\0\xff\x01" + varlen(len(NOTICE)) + NOTICE + track
        out += b"MTrk" + len(track).to_bytes(4, "big") + track
        at += 8 + size
    open(target, "wb").write(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
