"use strict";
// The view of matches: a list beside the pair that is looked at and listened to.
(function (M) {
  // ---- A pair: rolls, sound, places ----

  M.PairView = class {
    constructor(player) {
      this.player = player;
      this.side = "query"; // what is heard
      this.isLooping = true;
      this.roll = new M.PairRoll((ms) => this.seekAxis(ms));
      this.roll.onLook = () => this.drawOverviews();
      this.queryMap = new M.Overview("The whole query", (ms) => this.seekAxis(ms));
      this.matchMap = new M.Overview("The whole match", (ms) => this.seekAxis(this.link.place.time.toQuery(ms)));
      this.build();
      player.onChange(() => this.follow());
    }

    build() {
      const button = (id, text, label, action, extra) =>
        M.el("button", {type: "button", id, "aria-label": label, title: label, onclick: action, ...extra}, text);
      this.play = button("play", "▶ Play", "Play or pause (space)", () => this.toggle(), {class: "play"});
      this.hearQuery = button("hear-query", "Query", "Hear the query (A)", () => this.hear("query"), {class: "side query"});
      this.hearMatch = button("hear-match", "Match", "Hear the match at the same place (B)", () => this.hear("match"),
        {class: "side match"});
      this.loop = button("loop", "⟳ Loop", "Repeat the passage (L)", () => this.setLoop(!this.isLooping));
      this.clock = M.el("span", {class: "clock", id: "clock"});
      this.places = M.el("div", {class: "places", role: "group", "aria-label": "Places that agree"});
      this.facts = M.el("dl", {class: "facts"});
      this.sentence = M.el("p", {class: "sentence", id: "sentence"});
      this.lacking = M.el("p", {class: "lacking", hidden: true});
      this.captions = [0, 1].map(() => M.el("span", {class: "caption"}));
      this.queryName = M.el("span", {class: "lane-name query"});
      this.matchName = M.el("span", {class: "lane-name match"});
      this.element = M.el("div", {class: "pair"},
        this.sentence, this.facts, this.lacking,
        M.el("div", {class: "transport", role: "group", "aria-label": "Playing"},
          this.play,
          M.el("div", {class: "sides", role: "group", "aria-label": "What is heard"}, this.hearQuery, this.hearMatch),
          this.loop, this.clock,
          M.el("div", {class: "zooms"},
            button("zoom-out", "−", "Show more (-)", () => this.roll.zoom(1.5)),
            button("zoom-in", "+", "Show less (+)", () => this.roll.zoom(1 / 1.5)),
            button("zoom-passage", "Passage", "Show the passage (0)", () => this.roll.focusPlace()))),
        this.places,
        M.el("div", {class: "lanes"},
          M.el("div", {class: "names", "aria-hidden": "true"}, this.queryName, this.matchName), this.roll.element),
        M.el("div", {class: "overviews"},
          M.el("div", {}, this.captions[0], this.queryMap.element), M.el("div", {}, this.captions[1], this.matchMap.element)));
    }

    show(link) {
      const isHeard = this.player.isPlaying;
      this.player.pause();
      this.link = link;
      this.axis = link.place.from;
      this.sentence.textContent = M.sentence(link);
      this.queryName.textContent = `${link.names.query}: ${link.query.label}`;
      this.matchName.textContent = `${link.names.match}: ${link.match.label}`;
      this.hearQuery.textContent = link.names.query;
      this.hearMatch.textContent = link.names.match;
      this.captions.forEach((caption, i) => { caption.textContent = `All of ${(i ? link.match : link.query).label}`; });
      this.showFacts();
      this.showPlaces();
      this.showLacking();
      this.roll.show(link);
      const view = () => this.roll.view, time = () => link.place.time;
      this.queryMap.show(link.query, {link, isMatch: false, places: link.isMarked ? link.places.map((p) => [p.from, p.to]) : [],
        getView: view, getCursor: () => this.axis});
      this.matchMap.show(link.match, {link, isMatch: true, places: link.isMarked ? link.places.map((p) => [p.matchFrom, p.matchTo]) : [],
        getView: () => view().map((ms) => time().toMatch(ms)), getCursor: () => time().toMatch(this.axis)});
      for (const [element, piece, what] of [[this.queryMap, link.query, "query"], [this.matchMap, link.match, "match"]])
        element.element.setAttribute("aria-label", `The whole ${what}: ${piece.label}, ${M.time(piece.end)}`);
      if (!this.piece().hasNotes) this.side = link.query.hasNotes ? "query" : "match";
      if (isHeard) this.start();
      this.refresh();
    }

    showFacts() {
      const link = this.link, facts = [];
      if (link.found) {
        facts.push(["Notes that agree", `${M.count(link.found.n)} of ${M.count(link.found.ofQuery)}`]);
        facts.push(["Hits as good by chance", M.chance(link.found.e)]);
      } else if (link.hasPlaces) facts.push(["Notes that agree", M.count(link.agreeing)]);
      if (link.hasPlaces || link.found) {
        facts.push(["Key", link.by ? M.transposed(link.by) : "the same"]);
        facts.push(["Tempo", M.paced(link.tempo).replace("at the same tempo", "the same").replace(/^at /, "")]);
      } else if (link.alike) facts.push(["Key", link.by ? M.transposed(link.by) : "the same"]);
      if (link.isMarked && !link.hasPlaces) {
        const p = link.place;
        facts.push(["Where", `${link.query.place(p.from, p.to)} → ${link.match.place(p.matchFrom, p.matchTo)}`]);
      }
      if (link.alike) facts.push(["Likeness", M.percent(link.alike.score)]);
      if (link.alike && link.alike.chance !== undefined) facts.push(["Pieces as alike by chance", M.chance(link.alike.chance)]);
      M.clear(this.facts, facts.map(([name, value]) => M.el("div", {}, M.el("dt", {}, name), M.el("dd", {}, value))));
    }

    showPlaces() {
      const link = this.link;
      M.clear(this.places);
      this.places.hidden = !link.hasPlaces;
      if (!link.hasPlaces) return;
      link.places.forEach((place, i) => {
        this.places.append(M.el("button", {type: "button", class: "place", "aria-pressed": String(place === link.place),
          onclick: () => this.choose(i)},
        M.el("strong", {}, link.places.length === 1 ? "Passage" : `Passage ${i + 1}`),
        M.el("span", {class: "query"}, link.query.place(place.from, place.to)),
        M.el("span", {"aria-label": "in the query, in the match"}, "→"),
        M.el("span", {class: "match"}, link.match.place(place.matchFrom, place.matchTo)),
        M.el("span", {class: "dim"}, M.many(place.count, "note"))));
      });
    }

    showLacking() {
      const lines = [this.link.query, this.link.match].filter((piece) => piece.lacks || piece.from === "index").map((piece) =>
        piece.from === "index"
          ? `${piece.label} is shown from the note index: without drums, with rough lengths.`
          : `${piece.label} cannot be shown or played: ${M.shown(piece.lacks)}.`);
      this.lacking.hidden = lines.length === 0;
      this.lacking.textContent = lines.join(" ");
    }

    choose(i) {
      const isHeard = this.player.isPlaying;
      this.link.place = this.link.places[i];
      this.axis = this.link.place.from;
      this.showPlaces();
      this.sentence.textContent = M.sentence(this.link);
      this.roll.focusPlace();
      if (isHeard) this.start();
      else this.refresh();
    }

    // ---- Sound: the place is kept on the axis of the query ----

    piece() { return this.side === "match" ? this.link.match : this.link.query; }
    toPiece(axis) { return this.side === "match" ? this.link.place.time.toMatch(axis) : axis; }
    toAxis(ms) { return this.side === "match" ? this.link.place.time.toQuery(ms) : ms; }
    passage() {
      const place = this.link.place;
      return this.side === "match" ? [place.matchFrom, this.link.matchUntil(place)] : [place.from, this.link.until(place)];
    }
    start() {
      if (!this.piece().hasNotes) return;
      const loop = this.isLooping ? this.passage() : null;
      let from = Math.max(0, this.toPiece(this.axis));
      if (loop && (from < loop[0] - 1 || from >= loop[1])) from = loop[0];
      this.player.play(this.piece(), from, {loop});
      this.run();
    }
    toggle() {
      if (this.player.isPlaying && this.player.piece === this.piece()) this.player.pause();
      else this.start();
    }
    hear(side) {
      const isHeard = this.player.isPlaying;
      if (isHeard) this.axis = this.toAxis(this.player.position());
      this.side = side;
      if (!this.piece().hasNotes) M.say("The notes of this piece are not in the report.");
      if (isHeard) this.start();
      this.refresh();
      M.say(side === "query" ? "Query" : "Match");
    }
    setLoop(isOn) {
      this.isLooping = isOn;
      if (this.player.isPlaying) {
        this.axis = this.toAxis(this.player.position());
        this.start();
      }
      this.refresh();
    }
    seekAxis(ms) {
      const place = this.link.place;
      this.axis = Math.max(0, ms);
      if (this.isLooping && (ms < place.from || ms > place.to)) this.isLooping = false;
      if (this.player.isPlaying) this.start();
      this.refresh();
    }
    // A beat or so on or back.
    step(by) { this.seekAxis(this.axis + by); }

    run() {
      if (this.isRunning) return;
      this.isRunning = true;
      const frame = () => {
        this.isRunning = this.player.isPlaying && this.element.isConnected;
        if (this.player.isPlaying && this.player.piece === this.piece()) {
          this.axis = this.toAxis(this.player.position());
          this.roll.follow(this.axis);
        }
        this.refresh();
        if (this.isRunning) requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    }
    follow() { if (this.link) this.refresh(); }

    drawOverviews() {
      if (!this.link) return;
      this.queryMap.canvas.redraw();
      this.matchMap.canvas.redraw();
    }
    refresh() {
      const isHeard = this.player.isPlaying;
      const says = isHeard ? "❚❚ Pause" : "▶ Play";
      if (this.play.textContent !== says) this.play.textContent = says;
      this.hearQuery.setAttribute("aria-pressed", String(this.side === "query"));
      this.hearMatch.setAttribute("aria-pressed", String(this.side === "match"));
      this.hearQuery.disabled = !this.link.query.hasNotes;
      this.hearMatch.disabled = !this.link.match.hasNotes;
      this.play.disabled = !this.piece().hasNotes;
      this.loop.setAttribute("aria-pressed", String(this.isLooping));
      const ms = Math.max(0, this.toPiece(this.axis)), bar = this.piece().barAt(ms);
      const clock = `${M.time(ms)}${bar ? ` · bar ${bar}` : ""}`;
      if (this.clock.textContent !== clock) this.clock.textContent = clock;
      this.roll.cursor = this.axis;
      this.roll.canvas.redraw();
      this.drawOverviews();
    }

    // Returns true when the key was taken.
    key(event) {
      const keys = {
        " ": () => this.toggle(), a: () => this.hear("query"), b: () => this.hear("match"), l: () => this.setLoop(!this.isLooping),
        ArrowLeft: () => this.step(-1000), ArrowRight: () => this.step(1000), "+": () => this.roll.zoom(1 / 1.5),
        "=": () => this.roll.zoom(1 / 1.5), "-": () => this.roll.zoom(1.5), 0: () => this.roll.focusPlace(),
      };
      const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (action) action();
      return Boolean(action);
    }
  };

  // ---- The list ----

  const SORTS = {
    rank: ["as found", (a, b) => a.rank - b.rank],
    notes: ["notes that agree", (a, b) => b.link.agreeing - a.link.agreeing || a.rank - b.rank],
    likeness: ["likeness", (a, b) => scoreOf(b) - scoreOf(a) || a.rank - b.rank],
    place: ["place in the query", (a, b) => a.link.place.from - b.link.place.from || a.rank - b.rank],
    key: ["key", (a, b) => Math.abs(a.link.by || 0) - Math.abs(b.link.by || 0) || a.rank - b.rank],
    tempo: ["tempo", (a, b) => pace(a) - pace(b) || a.rank - b.rank],
    name: ["name", (a, b) => (a.link.match.name < b.link.match.name ? -1 : 1)],
  };
  function scoreOf(item) { return item.link.alike ? item.link.alike.score : -1; }
  function pace(item) { return Math.abs(Math.log(item.link.tempo || 1)); }

  M.MatchesView = class {
    // options.actions(item): buttons beside the verdict on a match.
    constructor(player, marks, options) {
      this.pair = new M.PairView(player);
      this.marks = marks;
      this.actions = (options || {}).actions || (() => []);
      this.sort = "rank";
      this.items = [];
      this.build();
      marks.onChange(() => this.showMarks());
    }
    // A report in place of the one before, and which of its matches is open; the order of the list stays.
    show(report, chosen) {
      this.report = report;
      this.filter = this.filterInput.value = "";
      this.only = this.onlySelect.value = "all";
      M.clear(this.querySelect, report.queries.map((query) => M.el("option", {}, M.shown(query.piece.name))));
      this.queryField.hidden = report.queries.length < 2;
      this.choose(0);
      if (chosen !== undefined) this.open(this.items[chosen]);
    }

    build() {
      const field = (label, control) => M.el("label", {class: "field"}, M.el("span", {}, label), control);
      this.querySelect = M.el("select", {id: "query", onchange: () => this.choose(this.querySelect.selectedIndex)});
      this.querySelect.setAttribute("aria-label", "Query");
      this.queryField = field("Query", this.querySelect);
      this.list = M.el("ol", {class: "list", id: "matches", "aria-label": "Matches"});
      this.filterInput = M.el("input", {type: "search", id: "filter", placeholder: "name, key, words",
        oninput: () => { this.filter = this.filterInput.value.toLowerCase(); this.fill(); }});
      this.sortSelect = M.el("select", {id: "sort", onchange: () => { this.sort = this.sortSelect.value; this.fill(); }},
        Object.entries(SORTS).map(([key, [name]]) => M.el("option", {value: key}, name)));
      this.onlySelect = M.el("select", {id: "only", onchange: () => { this.only = this.onlySelect.value; this.fill(); }},
        [["all", "all"], ["keep", "kept"], ["reject", "rejected"], ["open", "not marked"]].map(([value, text]) =>
          M.el("option", {value}, text)));
      this.exports = M.el("div", {class: "exports"});
      this.head = M.el("div", {class: "pair-head"});
      this.queryName = M.el("p", {class: "query-name", id: "query-name"});
      this.detail = M.el("section", {class: "detail", "aria-label": "Query and match"}, this.head, this.pair.element);
      this.element = M.el("div", {class: "matches"},
        M.el("aside", {class: "side-list", "aria-label": "List of matches"},
          this.queryField, this.queryName,
          M.el("div", {class: "controls"}, field("Filter", this.filterInput), field("Sort by", this.sortSelect),
            field("Show", this.onlySelect)),
          this.list, this.exports), this.detail);
    }

    choose(number) {
      this.query = this.report.queries[number];
      this.items = this.query.matches.map((link, i) => ({link, rank: i + 1}));
      this.queryName.textContent = `${M.many(this.items.length, "match", "matches")} of ${this.query.piece.label}`;
      this.fill();
      this.detail.hidden = this.items.length === 0;
      if (this.items.length) this.open(this.visible[0] || this.items[0]);
    }

    isShown(item) {
      const mark = this.marks.get(item.link.match.name) || "open";
      if (this.only !== "all" && mark !== this.only) return false;
      const text = `${item.link.match.name} ${M.badgeOf(item.link)} ${M.transposed(item.link.by)}`.toLowerCase();
      return text.includes(this.filter);
    }

    fill() {
      this.visible = this.items.filter((item) => this.isShown(item)).sort(SORTS[this.sort][1]);
      M.clear(this.list, this.visible.map((item) => this.row(item)));
      if (!this.visible.length) this.list.append(M.el("li", {class: "empty"}, "No match is shown: change filter or marks."));
      this.showExports();
    }

    row(item) {
      const link = item.link, mark = this.marks.get(link.match.name);
      const facts = [];
      if (link.hasPlaces) facts.push(link.match.place(link.places[0].matchFrom, link.places[0].matchTo));
      if (link.hasPlaces || link.alike) facts.push(link.by ? `${link.by > 0 ? "+" : "−"}${Math.abs(link.by)} st` : "same key");
      if (link.tempo && Math.abs(link.tempo - 1) >= 0.01) facts.push(M.paced(link.tempo));
      if (!link.match.hasNotes) facts.push("no file");
      const score = link.found ? `${M.count(link.found.n)}/${M.count(link.found.ofQuery)}`
        : link.alike ? M.percent(link.alike.score) : link.agreeing ? M.many(link.agreeing, "note") : "";
      const button = M.el("button", {type: "button", class: "row", "aria-current": item === this.item ? "true" : null,
        onclick: () => this.open(item)},
      M.el("span", {class: "rank", "aria-hidden": "true"}, item.rank),
      M.el("span", {class: "what"},
        M.el("span", {class: "name"}, M.breakable(link.match.label)),
        link.match.folder ? M.el("span", {class: "folder"}, link.match.folder) : null,
        M.el("span", {class: "more"}, M.el("span", {class: "badge"}, M.badgeOf(link)),
          facts.flatMap((fact) => [M.el("span", {class: "fact"}, fact), " "]))),
      M.el("span", {class: "score"}, score,
        mark ? M.el("span", {class: `mark ${mark}`}, mark === "keep" ? "✓ kept" : "✗ rejected") : null));
      return M.el("li", {}, button);
    }

    open(item) {
      this.item = item;
      if (this.onOpen) this.onOpen(item);
      this.showHead();
      this.pair.show(item.link);
      this.list.querySelectorAll(".row").forEach((row, i) => {
        if (this.visible[i] === item) row.setAttribute("aria-current", "true");
        else row.removeAttribute("aria-current");
      });
    }
    showHead() {
      const piece = this.item.link.match, name = piece.name, mark = this.marks.get(name), about = [];
      if (piece.folder) about.push(piece.folder);
      if (piece.hasNotes) about.push(M.time(piece.end), M.many(piece.stored.count, "note"));
      if (piece.instruments) about.push(piece.instruments);
      const button = (id, value, text, label) => M.el("button", {type: "button", id, class: `mark-${value}`,
        "aria-pressed": String(mark === value), "aria-label": label, title: label, onclick: () => this.mark(value)}, text);
      M.clear(this.head,
        M.el("div", {}, M.el("h2", {}, M.breakable(piece.label)), M.el("p", {class: "folder"}, about.join(" · "))),
        M.el("div", {class: "marks", role: "group", "aria-label": "Your verdict"},
          button("keep", "keep", "✓ Keep", "Keep this match (K)"), button("reject", "reject", "✗ Reject", "Reject this match (R)"),
          this.actions(this.item)));
    }
    move(by) {
      const at = this.visible.indexOf(this.item) + by;
      if (at < 0 || at >= this.visible.length) return;
      this.open(this.visible[at]);
      const row = this.list.querySelectorAll(".row")[at];
      row.scrollIntoView({block: "nearest"});
      M.say(`${this.item.rank}. ${M.sentence(this.item.link)}`);
    }
    mark(value) {
      const name = this.item.link.match.name, isMarked = this.marks.get(name) === value;
      this.marks.set(name, isMarked ? null : value);
      M.say(isMarked ? "Not marked" : value === "keep" ? "Kept" : "Rejected");
    }
    // After a change of marks, here or in another window.
    showMarks() {
      const scroll = this.list.scrollTop, focused = (document.activeElement || {}).id;
      this.fill();
      this.list.scrollTop = scroll;
      if (this.items.length) this.showHead();
      const button = focused && document.getElementById(focused);
      if (button && document.activeElement === document.body) button.focus();
    }
    // Lists of all that is marked, in this search or before.
    showExports() {
      const button = (id, value, text, file) => M.el("button", {type: "button", id, disabled: this.marks.names(value).length === 0,
        onclick: () => M.download(file, this.marks.names(value))}, `${text} (${this.marks.names(value).length})`);
      this.exports.hidden = this.marks.size === 0;
      M.clear(this.exports, button("export-keep", "keep", "Save kept list", "kept.tsv"),
        button("export-reject", "reject", "Save rejected list", "rejected.tsv"), this.clearButton());
    }
    clearButton() {
      const button = M.el("button", {type: "button", id: "clear-marks", class: "quiet", onclick: () => {
        if (button.dataset.asked) {
          this.marks.clear();
          M.say("All marks are cleared");
        } else {
          button.dataset.asked = "1";
          button.textContent = `Clear ${M.many(this.marks.size, "mark")}? Click again`;
        }
      }}, "Clear all marks");
      return button;
    }

    key(event) {
      const keys = {ArrowUp: () => this.move(-1), ArrowDown: () => this.move(1), k: () => this.mark("keep"), r: () => this.mark("reject")};
      if (!this.items.length) return false;
      const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (action) action();
      return Boolean(action) || this.pair.key(event);
    }
    leave() { this.pair.player.pause(); }
  };
})(midisim);
