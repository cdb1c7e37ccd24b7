"use strict";
// The map of a collection: a point for each piece, near to those that sound like it.
(function (M) {
  const STEPS = 65535, NEAR = 14, MOST_FOLDERS = 10, PAD = 22;

  M.MapView = class {
    constructor(stored, player) {
      this.stored = stored;
      this.player = player;
      this.zoom = {scale: 1, x: 0, y: 0};
      this.hover = -1;
      this.filter = "";
      this.readPoints();
      this.build();
    }

    readPoints() {
      const {points, names} = this.stored;
      this.points = names.map((name, i) => ({name, lower: name.toLowerCase(), x: points[2 * i] / STEPS, y: 1 - points[2 * i + 1] / STEPS, i}));
      const high = this.points.reduce((most, p) => Math.max(most, p.y), 0);
      const low = this.points.reduce((least, p) => Math.min(least, p.y), 1);
      this.height = Math.max(high - low, 0.05);
      for (const p of this.points) p.y -= low;
      const counts = new Map();
      for (const p of this.points) {
        p.folder = p.name.includes("/") ? p.name.slice(0, p.name.indexOf("/")) : "";
        counts.set(p.folder, (counts.get(p.folder) || 0) + 1);
      }
      this.folders = [...counts].sort((a, b) => b[1] - a[1]).map(([name, n]) => ({name, n}));
      const number = new Map(this.folders.map((folder, i) => [folder.name, Math.min(i, MOST_FOLDERS)]));
      for (const p of this.points) p.colour = number.get(p.folder);
    }

    build() {
      const {pieces, shares} = this.stored;
      this.canvas = new M.Canvas({class: "map", role: "img", id: "map",
        "aria-label": `Map of ${M.many(this.points.length, "piece")}. Use the search below to reach pieces by name.`},
      (c, w, h) => this.draw(c, w, h));
      this.tip = M.el("div", {class: "tip", hidden: true});
      this.input = M.el("input", {type: "search", id: "map-filter", placeholder: "name of a piece",
        oninput: () => { this.filter = this.input.value.toLowerCase(); this.find(); }});
      this.results = M.el("ul", {class: "results", "aria-label": "Pieces found"});
      this.stop = M.el("button", {type: "button", disabled: true, onclick: () => this.player.pause()}, "❚❚ Stop");
      this.heard = M.el("p", {class: "heard", role: "status"}, "Click a point to hear how the piece begins.");
      const some = this.points.length < pieces ? ` ${M.count(this.points.length)} of ${M.count(pieces)} pieces are shown.` : "";
      this.element = M.el("div", {class: "map-view"},
        M.el("p", {class: "lead"}, (shares ? "Each point is a piece; points near each other sound alike. The two directions show " +
          `${Math.round(100 * (shares[0] + shares[1]))} % of all differences, so near points may still differ.` :
          "Each point is a piece. Its place comes from a layout that was computed before, which puts alike pieces near each " +
          "other; distances between far points may say little.") + some),
        M.el("div", {class: "map-frame"}, this.canvas.element, this.tip),
        M.el("div", {class: "map-side"},
          M.el("div", {class: "buttons"}, this.stop,
            M.el("button", {type: "button", "aria-label": "Zoom out", onclick: () => this.scale(1 / 1.5)}, "−"),
            M.el("button", {type: "button", "aria-label": "Zoom in", onclick: () => this.scale(1.5)}, "+"),
            M.el("button", {type: "button", onclick: () => { this.zoom = {scale: 1, x: 0, y: 0}; this.canvas.redraw(); }}, "Whole map")),
          this.heard, this.legend(),
          M.el("label", {class: "field"}, M.el("span", {}, "Search"), this.input), this.results));
      this.listen();
      this.player.onChange(() => {
        this.stop.disabled = !this.player.isPlaying;
        this.canvas.redraw();
      });
    }
    legend() {
      const named = this.folders.slice(0, MOST_FOLDERS), rest = this.folders.slice(MOST_FOLDERS);
      const line = (i, text, n) => M.el("li", {}, M.el("span", {class: `swatch c${i}`, "aria-hidden": "true"}), text,
        M.el("span", {class: "dim"}, ` ${M.count(n)}`));
      if (this.folders.length < 2) return null;
      return M.el("ul", {class: "legend", "aria-label": "Folders"},
        named.map((folder, i) => line(i, folder.name ? M.shown(folder.name) : "no folder", folder.n)),
        rest.length ? line(MOST_FOLDERS, M.many(rest.length, "other folder"), rest.reduce((sum, f) => sum + f.n, 0)) : null);
    }

    // ---- Drawing ----

    // Where the map lies on the canvas: x = left + size * p.x, and so y.
    frame(width, height) {
      const z = this.zoom, size = Math.min(width - 2 * PAD, (height - 2 * PAD) / this.height) * z.scale;
      return {size, left: width / 2 + z.x - size / 2, top: height / 2 + z.y - size * this.height / 2};
    }
    place(p, width, height) {
      const {size, left, top} = this.frame(width, height);
      return [left + p.x * size, top + p.y * size];
    }
    get radius() { return this.points.length > 1500 ? 3 : this.points.length > 300 ? 4 : 6; }
    draw(c, width, height) {
      const radius = this.radius;
      this.drawPicture(c, width, height);
      for (const [i, name] of [[this.playing, "cursor"], [this.hover, "ink"]]) {
        if (i === undefined || i < 0 || name === "cursor" && !this.player.isPlaying) continue;
        const [x, y] = this.place(this.points[i], width, height);
        c.strokeStyle = M.colour(name);
        c.lineWidth = 2.5;
        c.beginPath();
        c.arc(x, y, radius + 4, 0, 7);
        c.stroke();
      }
    }
    // The points do not change while the pointer moves over them: their picture is kept.
    drawPicture(c, width, height) {
      const z = this.zoom, theme = M.colour("map-0"), key = [c.canvas.width, c.canvas.height, z.scale, z.x, z.y, this.filter, theme].join(" ");
      if (this.drawn !== key) {
        this.drawn = key;
        this.picture = this.picture || M.el("canvas");
        this.picture.width = c.canvas.width;
        this.picture.height = c.canvas.height;
        const context = this.picture.getContext("2d");
        context.setTransform(c.getTransform());
        this.drawPoints(context, width, height);
      }
      c.drawImage(this.picture, 0, 0, width, height);
    }
    drawPoints(c, width, height) {
      const {size, left, top} = this.frame(width, height), radius = this.radius, tints = [];
      for (let i = 0; i <= MOST_FOLDERS; i++) tints.push(M.colour(`map-${i}`));
      for (const isFound of [false, true]) {
        c.globalAlpha = isFound ? 0.9 : 0.18;
        for (const p of this.points) {
          if (this.isFound(p) !== isFound) continue;
          const x = left + p.x * size, y = top + p.y * size;
          if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
          c.fillStyle = tints[p.colour];
          c.beginPath();
          c.arc(x, y, radius, 0, 7);
          c.fill();
        }
      }
    }
    isFound(p) { return !this.filter || p.lower.includes(this.filter); }

    // ---- Looking and listening ----

    nearest(event) {
      const box = this.canvas.element.getBoundingClientRect();
      const {size, left, top} = this.frame(box.width, box.height);
      const x = event.clientX - box.left - left, y = event.clientY - box.top - top;
      let best = -1, distance = NEAR;
      for (const p of this.points) {
        const d = Math.hypot(p.x * size - x, p.y * size - y);
        if (d < distance && this.isFound(p)) [best, distance] = [p.i, d];
      }
      return best;
    }
    point(event) {
      this.hover = this.nearest(event);
      this.tip.hidden = this.hover < 0;
      this.canvas.element.classList.toggle("on-point", this.hover >= 0);
      if (this.hover >= 0) {
        const box = this.canvas.element.getBoundingClientRect();
        const [x, y] = this.place(this.points[this.hover], box.width, box.height);
        this.tip.textContent = M.shown(this.points[this.hover].name);
        this.tip.style.left = `${Math.min(Math.max(x, 60), box.width - 60)}px`;
        this.tip.style.top = `${y}px`;
      }
      this.canvas.redraw();
    }
    listen() {
      const element = this.canvas.element;
      let drag = null;
      element.addEventListener("pointerdown", (event) => {
        drag = {x: event.clientX, y: event.clientY, zoom: {...this.zoom}, moved: false};
        element.setPointerCapture(event.pointerId);
      });
      element.addEventListener("pointermove", (event) => {
        if (!drag) return this.point(event);
        const by = [event.clientX - drag.x, event.clientY - drag.y];
        if (Math.hypot(...by) > 4) drag.moved = true;
        if (drag.moved) this.zoom = {...drag.zoom, x: drag.zoom.x + by[0], y: drag.zoom.y + by[1]};
        return this.canvas.redraw();
      });
      element.addEventListener("pointerup", (event) => {
        if (drag && !drag.moved) {
          const i = this.nearest(event);
          if (i >= 0) this.hear(i);
        }
        drag = null;
      });
      element.addEventListener("pointerleave", () => { this.hover = -1; this.tip.hidden = true; this.canvas.redraw(); });
      element.addEventListener("wheel", (event) => {
        event.preventDefault();
        const box = element.getBoundingClientRect();
        this.scale(event.deltaY < 0 ? 1.2 : 1 / 1.2, [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2]);
      }, {passive: false});
    }
    scale(factor, around) {
      const z = this.zoom, at = around || [0, 0], scale = Math.min(Math.max(z.scale * factor, 1), 60), by = scale / z.scale;
      this.zoom = {scale, x: at[0] - (at[0] - z.x) * by, y: at[1] - (at[1] - z.y) * by};
      this.canvas.redraw();
    }
    hear(i) {
      const name = M.shown(this.points[i].name), sound = this.stored.sounds[i];
      if (!sound) {
        this.heard.textContent = `${name}: its notes are not in this report.`;
        return;
      }
      const [programs, base64] = sound;
      const notes = M.decodeNotes(base64);
      for (const note of notes) note.drum = programs[note.voice] === 128;
      this.playing = i;
      this.heard.textContent = `Playing the beginning of ${name}`;
      this.player.play({notes, program: (voice) => programs[voice] || 0}, notes.length ? notes[0].start : 0);
    }
    find() {
      const found = this.filter ? this.points.filter((p) => this.isFound(p)).slice(0, 30) : [];
      M.clear(this.results, found.map((p) => M.el("li", {}, M.el("button", {type: "button",
        onclick: () => this.hear(p.i), onfocus: () => { this.hover = p.i; this.canvas.redraw(); }}, M.shown(p.name)))));
      this.canvas.redraw();
    }
    key(event) {
      if (event.key !== " " || !this.player.isPlaying) return false;
      this.player.pause();
      return true;
    }
    leave() { this.player.pause(); }
  };
})(midisim);
