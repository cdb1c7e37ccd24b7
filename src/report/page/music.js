"use strict";
// Pieces and how two of them lie on each other.
(function (M) {
  const DRUMS = 9;
  const FAMILIES = ["Piano", "Chromatic percussion", "Organ", "Guitar", "Bass", "Strings", "Ensemble", "Brass", "Reed",
    "Pipe", "Synth lead", "Synth pad", "Synth effects", "Ethnic", "Percussive", "Sound effects"];

  // Notes as the report stores them: docs/FORMATS.md, Reports.
  M.decodeNotes = function (base64) {
    const bytes = M.bytes(base64), notes = [];
    let at = 0, start = 0, voice = 0, velocity = 0;
    function varint() {
      let value = 0, factor = 1, byte;
      do {
        byte = bytes[at++];
        value += (byte & 127) * factor;
        factor *= 128;
      } while (byte & 128);
      return value;
    }
    while (at < bytes.length) {
      start += varint();
      const length = varint() * 10, pitch = bytes[at++];
      if (pitch & 128) {
        voice = varint();
        velocity = bytes[at++];
      }
      notes.push({start, end: start + length, pitch: pitch & 127, voice, velocity: velocity || 80});
    }
    return notes;
  };

  // ---- Pieces ----

  M.Piece = class {
    constructor(stored) {
      this.stored = stored;
      this.name = stored.name;
      this.lacks = stored.lacks || "";
      this.from = stored.from;
      this.voices = (stored.voices || []).map(([track, channel, program, name]) => ({track, channel, program, name}));
    }
    // What it is called: a file by its last part, typed notes by all of them.
    get label() { return this.from === "given" ? M.shown(this.name) : M.leaf(this.name); }
    get folder() { return this.from === "given" ? "" : M.folder(this.name); }
    get hasNotes() { return this.from !== "nothing"; }
    get notes() {
      if (!this.decoded) {
        this.decoded = this.hasNotes ? M.decodeNotes(this.stored.notes) : [];
        for (const note of this.decoded) note.drum = this.isDrum(note.voice);
      }
      return this.decoded;
    }
    isDrum(voice) { return (this.voices[voice] || {}).channel === DRUMS; }
    program(voice) { return (this.voices[voice] || {program: 0}).program; }
    get end() {
      if (this.last === undefined) this.last = this.notes.reduce((end, note) => Math.max(end, note.end), 0);
      return this.last;
    }
    get range() {
      if (!this.pitches) {
        let low = 127, high = 0;
        for (const note of this.notes) {
          if (note.drum) continue;
          low = Math.min(low, note.pitch);
          high = Math.max(high, note.pitch);
        }
        this.pitches = low <= high ? [low, high] : [48, 72];
      }
      return this.pitches;
    }
    get bars() {
      if (!this.barStarts) {
        const stored = this.stored.bars || [];
        this.barStarts = [];
        let start = 0, beats = 4;
        for (let i = 0; i < stored.length; i++) {
          const step = stored[i];
          start += step < 0 ? -step - 1 : step;
          if (step < 0) {
            beats = stored[i + 1];
            i += 2;
          }
          this.barStarts.push({start, beats});
        }
      }
      return this.barStarts;
    }
    // The number of the bar that sounds at a time, from 1; 0: it has no bars.
    barAt(ms) {
      let low = 0, high = this.bars.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.bars[middle].start <= ms + 1) low = middle + 1;
        else high = middle;
      }
      return low;
    }
    // The first note that may sound at a time: notes are in order of start, and none is longer than the longest.
    firstSounding(ms) {
      if (this.longest === undefined) this.longest = this.notes.reduce((most, note) => Math.max(most, note.end - note.start), 0);
      let low = 0, high = this.notes.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.notes[middle].start < ms - this.longest) low = middle + 1;
        else high = middle;
      }
      return low;
    }
    // When what has begun by a time, not long before, has sounded.
    soundsUntil(ms) {
      let until = ms + 250;
      for (let i = this.firstSounding(ms); i < this.notes.length && this.notes[i].start < ms + 60; i++)
        if (!this.notes[i].drum) until = Math.max(until, this.notes[i].end);
      return Math.min(until, ms + 4000);
    }
    // What plays in it, in words.
    get instruments() {
      const found = new Set();
      for (const voice of this.voices) found.add(voice.channel === DRUMS ? "Drums" : FAMILIES[voice.program >> 3]);
      return [...found].join(", ");
    }
    barsOf(from, to) {
      const first = this.barAt(from), last = this.barAt(to);
      return !first ? "" : first === last ? `bar ${first}` : `bars ${first}–${last}`;
    }
    // A stretch in words: "0:12-0:20, bars 5-8".
    place(from, to) { return [`${M.time(from)}–${M.time(to)}`, this.barsOf(from, to)].filter(Boolean).join(", "); }
  };

  // ---- Two pieces on each other ----

  // The map of time of one place: straight between its points, and beyond them at the tempo of the whole.
  class TimeMap {
    constructor(steps, tempo) {
      this.x = [];
      this.y = [];
      for (let i = 0; i + 1 < steps.length; i += 2) {
        this.x.push(steps[i] + (i ? this.x[i / 2 - 1] : 0));
        this.y.push(steps[i + 1] + (i ? this.y[i / 2 - 1] : 0));
      }
      const last = this.x.length - 1;
      const length = this.x[last] - this.x[0];
      this.slope = last > 0 && length > 0 ? (this.y[last] - this.y[0]) / length : tempo || 1;
      if (!(this.slope > 0)) this.slope = 1;
    }
    through(from, to, slope, at) {
      const last = from.length - 1;
      if (at <= from[0] || last === 0) return to[0] + (at - from[0]) * slope;
      if (at >= from[last]) return to[last] + (at - from[last]) * slope;
      let low = 0, high = last;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (from[middle] <= at) low = middle;
        else high = middle;
      }
      return to[low] + (at - from[low]) * (to[high] - to[low]) / (from[high] - from[low]);
    }
    toMatch(ms) { return this.through(this.x, this.y, this.slope, ms); }
    toQuery(ms) { return this.through(this.y, this.x, 1 / this.slope, ms); }
  }

  function bit(bytes, i) { return (bytes[i >> 3] >> (i & 7)) & 1; }

  // A query, a match, and the places where they agree. `stored` is a match or a member of a group.
  M.Link = class {
    // names: what the two are called, as labels and in a sentence.
    constructor(query, match, stored, names) {
      this.names = names || {query: "Query", match: "Match", said: "the query"};
      this.query = query;
      this.match = match;
      this.stored = stored;
      this.alike = stored.alike || null;
      this.found = stored.found || null;
      this.agreed = (stored.places || []).map((p) => ({
        from: p.q[0], to: p.q[1], matchFrom: p.m[0], matchTo: p.m[1], count: p.n, by: p.by, tempo: p.tempo,
        time: new TimeMap(p.map, p.tempo),
      }));
      this.hasPlaces = this.agreed.length > 0;
    }
    // Everything that needs the notes is made when it is first looked at: a report may hold hundreds of pieces.
    get places() {
      if (!this.madePlaces) this.madePlaces = this.hasPlaces ? this.agreed : [this.whole()];
      return this.madePlaces;
    }
    get place() { return this.chosen || this.places[0]; }
    set place(place) { this.chosen = place; }
    get lit() {
      if (!this.madeLit) this.madeLit = (this.stored.lit || ["", ""]).map(M.bytes);
      return this.madeLit;
    }
    // Where nothing agrees: the stretches that are alike, or both from the beginning.
    whole() {
      const alike = this.alike || {}, q = alike.q || [0, 0], m = alike.m || [0, 0];
      const from = q[0] * 1000, matchFrom = m[0] * 1000;
      const to = alike.q ? q[1] * 1000 : Math.min(this.query.end, 60000);
      const matchTo = alike.m ? m[1] * 1000 : Math.min(this.match.end, 60000);
      return {from, to, matchFrom, matchTo, count: 0, by: alike.by || 0, tempo: 1,
        time: new TimeMap([from, matchFrom, 1000, 1000], 1)};
    }
    // Something is known of where: places, or the windows of a search by vectors.
    get isMarked() { return this.hasPlaces || Boolean(this.alike && (this.alike.q || this.alike.m)); }
    // Where a place ends for the ear: its last notes sound on.
    until(place) { return this.hasPlaces ? this.query.soundsUntil(place.to) : place.to; }
    matchUntil(place) { return this.hasPlaces ? this.match.soundsUntil(place.matchTo) : place.matchTo; }
    isLit(isMatch, i) { return bit(this.lit[isMatch ? 1 : 0], i) === 1; }
    get by() { return this.hasPlaces ? this.agreed[0].by : this.found ? this.found.by : this.alike ? this.alike.by : 0; }
    get tempo() { return this.hasPlaces ? this.agreed[0].tempo : this.found ? this.found.tempo : null; }
    get agreeing() { return this.agreed.reduce((sum, place) => sum + place.count, 0); }
  };

  // ---- Words ----

  const RELATIONS = {
    "same notes": "has the same notes as", "same piece": "is the same piece as", "part of": "contains",
    contains: "is a part of", version: "is a version of", "shares a passage": "shares a passage with",
  };
  const LIKENESS = {same: "sounds the same as", version: "sounds like a version of", alike: "sounds like",
    unrelated: "has little to do with"};
  M.BADGES = {
    "same notes": "same notes", "same piece": "same piece", "part of": "query is in it", contains: "part of the query",
    version: "version", "shares a passage": "shares a passage", same: "sounds the same",
    alike: "sounds alike", unrelated: "unrelated",
  };

  // So few notes agree that they may do so by chance.
  M.isUncertain = (link) => Boolean(link.found) && link.found.word === "none";

  M.badgeOf = function (link) {
    if (M.isUncertain(link)) return link.found.n === link.found.ofQuery ? "has all notes" : "a few notes";
    if (link.found) return M.BADGES[link.found.word] || link.found.word;
    if (link.alike && link.alike.word) return M.BADGES[link.alike.word] || link.alike.word;
    if (link.alike) return "sounds alike";
    return link.hasPlaces ? "shares notes" : "nothing in common";
  };

  // One or two sentences that a musician reads first.
  M.sentence = function (link) {
    if (M.isUncertain(link)) return uncertainSentence(link);
    const verb = link.found ? RELATIONS[link.found.word]
      : link.alike ? LIKENESS[link.alike.word] || "sounds like" : link.hasPlaces ? "shares notes with" : "shares no passage with";
    const parts = [`${link.match.label} ${verb} ${link.names.said}.`];
    if (link.hasPlaces) {
      const p = link.place;
      const bars = link.match.barsOf(p.matchFrom, p.matchTo), time = `${M.time(p.matchFrom)}–${M.time(p.matchTo)}`;
      parts.push(`${bars ? `In ${bars} (${time})` : `At ${time}`} it plays ${M.many(p.count, "note")} of ${link.names.said}, ` +
        `${M.transposed(p.by)} and ${M.paced(p.tempo)}.`);
    } else if (link.alike && link.alike.by) {
      parts.push(`It is nearest when the query is moved: ${M.transposed(link.alike.by)}.`);
    }
    return parts.join(" ");
  };
  function uncertainSentence(link) {
    const {n, ofQuery} = link.found, p = link.place, bars = link.match.barsOf(p.matchFrom, p.matchTo);
    const time = `${M.time(p.matchFrom)}–${M.time(p.matchTo)}`;
    const where = link.hasPlaces ? ` ${bars ? `in ${bars} (${time})` : `at ${time}`}` : "";
    return `${link.match.label} has ${n === ofQuery ? `all ${M.many(n, "note")}` : `${M.count(n)} of ${M.many(ofQuery, "note")}`} of ` +
      `${link.names.said}${where}, ${M.transposed(link.by)} and ${M.paced(link.tempo)}. So few notes may agree by chance.`;
  }
})(midisim);
