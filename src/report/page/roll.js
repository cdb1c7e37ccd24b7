"use strict";
// Piano rolls: two lanes on one time axis, an overview of a whole piece, and the small picture of a member of a group.
(function (M) {
  const RULER = 18, DRUM_STRIP = 14, GAP = 10, LEAST_SPAN = 1500;

  // A canvas as large as its element and as sharp as the screen. draw(context, width, height) fills it.
  M.Canvas = class {
    constructor(attributes, draw) {
      this.element = M.el("canvas", attributes);
      this.draw = draw;
      this.observer = new ResizeObserver(() => this.redraw());
      this.observer.observe(this.element);
      M.onTheme(() => this.redraw());
    }
    redraw() {
      if (this.isAsked) return;
      this.isAsked = true;
      requestAnimationFrame(() => {
        this.isAsked = false;
        this.now();
      });
    }
    now() {
      const {clientWidth: width, clientHeight: height} = this.element;
      if (!width || !height || !this.element.isConnected) return;
      const scale = Math.min(window.devicePixelRatio || 1, 3);
      const w = Math.round(width * scale), h = Math.round(height * scale);
      if (this.element.width !== w) this.element.width = w;
      if (this.element.height !== h) this.element.height = h;
      const context = this.element.getContext("2d");
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, width, height);
      this.draw(context, width, height);
    }
  };

  function colours() {
    return {
      query: M.colour("query"), match: M.colour("match"), dim: M.colour("dim"), line: M.colour("line"), ink: M.colour("ink"),
      soft: M.colour("soft"), lane: M.colour("lane"), bandQuery: M.colour("band-query"), bandMatch: M.colour("band-match"),
      cursor: M.colour("cursor"),
    };
  }

  // ---- One lane ----

  // what: {piece, isMatch, link, toAxis(ms), fromAxis(ms), by, low, high}; box: {top, height}; view: [from, to] on the axis.
  function drawLane(c, colour, what, box, width, view) {
    const x = (ms) => (what.toAxis(ms) - view[0]) / (view[1] - view[0]) * width;
    const top = box.top + RULER, hasDrums = what.piece.voices.some((voice) => voice.channel === 9);
    const bottom = box.top + box.height - (hasDrums ? DRUM_STRIP : 0);
    const step = (bottom - top) / (what.high - what.low + 1);
    const y = (pitch) => bottom - (pitch - what.low + 1) * step;
    c.fillStyle = colour.lane;
    c.fillRect(0, top, width, box.top + box.height - top);
    drawBands(c, colour, what, x, box, width);
    c.fillStyle = colour.line;
    for (let pitch = Math.ceil(what.low / 12) * 12; pitch <= what.high; pitch += 12) c.fillRect(0, Math.round(y(pitch) + step), width, 1);
    (what.piece.bars.length > 1 ? drawBars : drawSeconds)(c, colour, what, x, box, width);
    const lit = what.isMatch ? colour.match : colour.query;
    what.first = what.piece.firstSounding(what.fromAxis(view[0]));
    what.end = what.fromAxis(view[1]);
    drawNotes(c, what, x, y, step, width, colour.dim, false, bottom, hasDrums);
    drawNotes(c, what, x, y, step, width, lit, true, bottom, hasDrums);
  }

  function drawBands(c, colour, what, x, box, width) {
    if (!what.link || !what.link.isMarked) return;
    for (const place of what.link.places) {
      const from = x(what.isMatch ? place.matchFrom : place.from);
      const to = x(what.isMatch ? what.link.matchUntil(place) : what.link.until(place));
      if (to < 0 || from > width) continue;
      const isChosen = place === what.link.place;
      c.globalAlpha = isChosen ? 1 : 0.45;
      c.fillStyle = what.isMatch ? colour.bandMatch : colour.bandQuery;
      c.fillRect(from - 2, box.top + RULER, to - from + 4, box.height - RULER);
      c.fillStyle = what.isMatch ? colour.match : colour.query;
      c.fillRect(from - 2, box.top + RULER, Math.max(to - from + 4, 4), 3);
      c.globalAlpha = 1;
    }
  }

  function drawBars(c, colour, what, x, box, width) {
    const bars = what.piece.bars;
    let lastText = -60;
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    for (let i = 0; i < bars.length; i++) {
      const at = x(bars[i].start);
      if (at < -40 || at > width) continue;
      const next = i + 1 < bars.length ? x(bars[i + 1].start) : at + 100;
      if (next - at > 7) {
        c.fillStyle = colour.line;
        c.fillRect(Math.round(at), box.top + RULER, 1, box.height - RULER);
      }
      if (at - lastText < 46) continue;
      c.fillStyle = colour.soft;
      c.fillText(String(i + 1), at + 2, box.top + RULER / 2);
      lastText = at;
    }
  }

  // Without bars: seconds.
  function drawSeconds(c, colour, what, x, box, width) {
    const perSecond = x(1000) - x(0), step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((s) => s * perSecond > 60) || 1200;
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    for (let s = 0; s * 1000 <= what.piece.end + step * 1000; s += step) {
      const at = x(s * 1000);
      if (at < -40 || at > width) continue;
      c.fillStyle = colour.line;
      c.fillRect(Math.round(at), box.top + RULER, 1, box.height - RULER);
      c.fillStyle = colour.soft;
      c.fillText(M.time(s * 1000), at + 2, box.top + RULER / 2);
    }
  }

  function drawNotes(c, what, x, y, step, width, fill, wantsLit, bottom, hasDrums) {
    const notes = what.piece.notes, tall = Math.max(step - (step > 4 ? 1 : 0), 2);
    c.fillStyle = fill;
    for (let i = what.first; i < notes.length && notes[i].start <= what.end; i++) {
      const note = notes[i];
      if ((what.link && what.link.isLit(what.isMatch, i)) !== wantsLit && !(note.drum && !wantsLit)) continue;
      const from = x(note.start), to = x(note.end);
      if (to < 0 || from > width) continue;
      if (note.drum) {
        if (hasDrums && !wantsLit) c.fillRect(from, bottom + 3 + note.pitch % 4 * 2, 2, 3);
        continue;
      }
      const pitch = note.pitch - what.by;
      if (pitch < what.low || pitch > what.high) continue;
      c.fillRect(from, y(pitch), Math.max(to - from - 0.5, 2), tall);
    }
  }

  // ---- Query and match, one above the other ----

  // Emits "seek" (ms on the axis of the query) through onSeek.
  M.PairRoll = class {
    constructor(onSeek) {
      this.onSeek = onSeek;
      this.view = [0, 10000];
      this.cursor = null;
      this.canvas = new M.Canvas({class: "roll", tabindex: "0", role: "img", id: "roll"}, (c, w, h) => this.draw(c, w, h));
      this.element = this.canvas.element;
      this.listen();
    }
    show(link) {
      this.link = link;
      const both = [link.query.range, link.match.range.map((pitch) => pitch - link.by)];
      this.low = Math.max(0, Math.min(both[0][0], both[1][0]) - 1);
      this.high = Math.min(127, Math.max(both[0][1], both[1][1]) + 1);
      if (!link.query.hasNotes) [this.low, this.high] = [both[1][0] - 1, both[1][1] + 1];
      if (!link.match.hasNotes) [this.low, this.high] = [both[0][0] - 1, both[0][1] + 1];
      this.element.setAttribute("aria-label", `Piano rolls of ${link.query.label} and ${link.match.label}. ` +
        M.sentence(link));
      this.focusPlace();
    }
    // The passage, with what stands around it.
    focusPlace() {
      const place = this.link.place, length = Math.max(place.to - place.from, 2000);
      const around = Math.min(Math.max(length * 0.25, 1500), 15000);
      const first = Math.min(0, place.time.toQuery(0)) - length * 0.02;
      this.look(Math.max(place.from - around, first), place.from + Math.min(length, 90000) + around);
    }
    look(from, to) {
      const span = Math.max(to - from, LEAST_SPAN);
      this.view = [from, from + span];
      this.canvas.redraw();
      if (this.onLook) this.onLook();
    }
    zoom(factor, at) {
      const centre = at === undefined ? (this.view[0] + this.view[1]) / 2 : at;
      const most = Math.max(this.link.query.end, this.link.match.end, 10000) * 1.5;
      const span = Math.min(Math.max((this.view[1] - this.view[0]) * factor, LEAST_SPAN), most);
      const share = (centre - this.view[0]) / (this.view[1] - this.view[0]);
      this.look(centre - span * share, centre + span * (1 - share));
    }
    pan(share) {
      const by = (this.view[1] - this.view[0]) * share;
      this.look(this.view[0] + by, this.view[1] + by);
    }
    follow(ms) {
      if (ms < this.view[0] || ms > this.view[1] - (this.view[1] - this.view[0]) * 0.05) {
        const span = this.view[1] - this.view[0];
        this.look(ms - span * 0.1, ms + span * 0.9);
      }
    }
    draw(c, width, height) {
      if (!this.link) return;
      const colour = colours(), half = (height - GAP) / 2, link = this.link;
      const lanes = [
        {piece: link.query, isMatch: false, link, by: 0, toAxis: (ms) => ms, fromAxis: (ms) => ms},
        {piece: link.match, isMatch: true, link, by: link.place.by, toAxis: (ms) => link.place.time.toQuery(ms),
          fromAxis: (ms) => link.place.time.toMatch(ms)},
      ];
      lanes.forEach((lane, i) => {
        lane.low = this.low;
        lane.high = this.high;
        const box = {top: i * (half + GAP), height: half};
        if (lane.piece.hasNotes) drawLane(c, colour, lane, box, width, this.view);
        else drawNothing(c, colour, lane.piece, box, width);
      });
      if (this.cursor !== null) {
        const at = (this.cursor - this.view[0]) / (this.view[1] - this.view[0]) * width;
        c.fillStyle = colour.cursor;
        c.fillRect(Math.round(at), 0, 2, height);
      }
    }
    axisAt(event) {
      const box = this.element.getBoundingClientRect();
      return this.view[0] + (event.clientX - box.left) / box.width * (this.view[1] - this.view[0]);
    }
    listen() {
      let drag = null;
      this.element.addEventListener("pointerdown", (event) => {
        drag = {x: event.clientX, view: this.view, moved: false};
        this.element.setPointerCapture(event.pointerId);
      });
      this.element.addEventListener("pointermove", (event) => {
        if (!drag) return;
        const by = (drag.x - event.clientX) / this.element.clientWidth * (drag.view[1] - drag.view[0]);
        if (Math.abs(drag.x - event.clientX) > 4) drag.moved = true;
        if (drag.moved) this.look(drag.view[0] + by, drag.view[1] + by);
      });
      this.element.addEventListener("pointerup", (event) => {
        if (drag && !drag.moved) this.onSeek(this.axisAt(event));
        drag = null;
      });
      this.element.addEventListener("pointercancel", () => { drag = null; });
      this.element.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
        event.preventDefault();
        if (event.ctrlKey || event.metaKey) this.zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, this.axisAt(event));
        else this.pan(event.deltaX / this.element.clientWidth);
      }, {passive: false});
    }
  };

  function drawNothing(c, colour, piece, box, width) {
    c.fillStyle = colour.lane;
    c.fillRect(0, box.top + RULER, width, box.height - RULER);
    c.fillStyle = colour.soft;
    c.font = "14px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText("The notes of this piece are not in the report.", width / 2, box.top + box.height / 2 + 6, width - 20);
    c.textAlign = "start";
  }

  // ---- A whole piece, small ----

  // places: [[from, to], ...] in ms of the piece; getView: the stretch that is in sight, or null.
  M.Overview = class {
    constructor(label, onSeek) {
      this.canvas = new M.Canvas({class: "overview", role: "img", "aria-label": label}, (c, w, h) => this.draw(c, w, h));
      this.element = this.canvas.element;
      this.element.addEventListener("click", (event) => {
        const box = this.element.getBoundingClientRect();
        if (this.piece) onSeek((event.clientX - box.left) / box.width * Math.max(this.piece.end, 1));
      });
    }
    show(piece, options) {
      this.piece = piece;
      this.options = options || {};
      this.picture = null;
      this.canvas.redraw();
    }
    draw(c, width, height) {
      const piece = this.piece, options = this.options;
      if (!piece) return;
      const colour = colours(), x = (ms) => ms / Math.max(piece.end, 1) * width;
      this.drawPicture(c, colour, x, width, height);
      const view = options.getView && options.getView();
      if (view) {
        c.strokeStyle = colour.ink;
        c.lineWidth = 1.5;
        c.strokeRect(Math.max(x(view[0]), 1), 1, Math.max(Math.min(x(view[1]), width - 1) - Math.max(x(view[0]), 1), 3), height - 2);
      }
      const cursor = options.getCursor && options.getCursor();
      if (cursor !== null && cursor !== undefined) {
        c.fillStyle = colour.cursor;
        c.fillRect(x(cursor), 0, 2, height);
      }
    }
    // The notes do not change while it plays: their picture is kept.
    drawPicture(c, colour, x, width, height) {
      const key = `${width} ${height} ${colour.lane} ${c.canvas.width}`;
      if (!this.picture || this.key !== key) {
        this.key = key;
        this.picture = M.el("canvas", {width: c.canvas.width, height: c.canvas.height});
        const context = this.picture.getContext("2d");
        context.setTransform(c.getTransform());
        this.drawNotes(context, colour, x, width, height);
      }
      c.drawImage(this.picture, 0, 0, width, height);
    }
    drawNotes(c, colour, x, width, height) {
      const {piece, options} = this, [low, high] = piece.range, step = height / (high - low + 3);
      c.fillStyle = colour.lane;
      c.fillRect(0, 0, width, height);
      for (const [from, to] of options.places || []) {
        c.fillStyle = options.isMatch ? colour.bandMatch : colour.bandQuery;
        c.fillRect(x(from), 0, Math.max(x(to) - x(from), 3), height);
        c.fillStyle = options.isMatch ? colour.match : colour.query;
        c.fillRect(x(from), 0, Math.max(x(to) - x(from), 3), 3);
      }
      piece.notes.forEach((note, i) => {
        if (note.drum) return;
        const isLit = options.isWhole || options.link && options.link.isLit(options.isMatch, i);
        c.fillStyle = isLit ? (options.isMatch ? colour.match : colour.query) : colour.dim;
        c.fillRect(x(note.start), height - (note.pitch - low + 2) * step, Math.max(x(note.end - note.start), 1), Math.max(step, 1.5));
      });
    }
  };
})(midisim);
