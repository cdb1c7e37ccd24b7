"use strict";
// What every page has around its views: stored data read, marks, theme, keys.
(function (M) {
  // What a report holds, as objects: docs/FORMATS.md, Reports.
  M.readReport = function (stored) {
    const pieces = stored.pieces.map((piece) => new M.Piece(piece));
    const report = {title: stored.title, pieces, moreGroups: stored.moreGroups, map: stored.map};
    report.queries = stored.queries.map((query) => ({
      piece: pieces[query.piece], start: query.start, end: query.end,
      matches: query.matches.map((match) => new M.Link(pieces[query.piece], pieces[match.piece], match)),
    }));
    report.groups = stored.groups.map((group) => ({
      number: group.number,
      members: group.members.map((member, i) => ({
        ...member, piece: pieces[member.piece],
        link: i && member.places ? new M.Link(pieces[group.members[0].piece], pieces[member.piece], member,
          {query: "Kept file", match: "Other file", said: "the kept file"}) : null,
      })),
    }));
    return report;
  };

  // ---- Marks ----

  // What a report is about, as a short key: the names in it, in their order (FNV-1a).
  M.reportKey = function (report) {
    const names = [...report.queries.map((query) => query.piece.name), ...report.pieces.map((piece) => piece.name)].join("\n");
    let hash = 0x811c9dc5;
    for (let i = 0; i < names.length; i++) hash = Math.imul(hash ^ names.charCodeAt(i), 0x01000193);
    return `midisim report ${names.length} ${(hash >>> 0).toString(16)}`;
  };

  // "keep" or "reject", by the name of a match. The browser keeps them under a key; where it refuses to, the page does.
  M.Marks = class {
    constructor(key) {
      this.key = key;
      this.marks = new Map();
      this.listeners = new Set();
      this.read();
      window.addEventListener("storage", (event) => {
        if (event.key !== this.key && event.key !== null) return;
        this.read();
        this.changed();
      });
    }
    // The marks of another key instead.
    move(key) {
      if (key === this.key) return;
      this.key = key;
      this.marks.clear();
      this.read();
      this.changed();
    }
    read() {
      try {
        const stored = JSON.parse(localStorage.getItem(this.key) || "[]");
        this.marks = new Map(stored.filter(([name, mark]) => typeof name === "string" && (mark === "keep" || mark === "reject")));
      } catch { /* they live as long as the page */ }
    }
    onChange(listener) { this.listeners.add(listener); }
    changed() { this.listeners.forEach((listener) => listener()); }
    get size() { return this.marks.size; }
    get(name) { return this.marks.get(name); }
    names(mark) { return [...this.marks].filter(([, each]) => each === mark).map(([name]) => name); }
    // mark: "keep", "reject", or null.
    set(name, mark) {
      if (mark) this.marks.set(name, mark);
      else this.marks.delete(name);
      this.write();
    }
    clear() {
      this.marks.clear();
      this.write();
    }
    write() {
      try {
        if (this.marks.size) localStorage.setItem(this.key, JSON.stringify([...this.marks]));
        else localStorage.removeItem(this.key);
      } catch { /* they live as long as the page */ }
      this.changed();
    }
  };

  // ---- Theme ----

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    const button = document.getElementById("theme");
    button.textContent = name === "dark" ? "☀ Light" : "☾ Dark";
    button.setAttribute("aria-label", name === "dark" ? "Use light colours" : "Use dark colours");
    M.themed();
  }
  M.startTheme = function () {
    const wished = window.matchMedia("(prefers-color-scheme: dark)");
    setTheme(wished.matches ? "dark" : "light");
    wished.addEventListener("change", () => setTheme(wished.matches ? "dark" : "light"));
    document.getElementById("theme").addEventListener("click", () =>
      setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  };

  // ---- Keys ----

  const HELP = [["Space", "play, pause"], ["A, B", "hear the query, the match"], ["L", "loop the passage"],
    ["←, →", "a second back, on"], ["↑, ↓", "match before, next match"], ["+, −, 0", "zoom, show the passage"],
    ["K, R", "keep, reject"]];
  M.keysHelp = () => M.el("details", {}, M.el("summary", {}, "Keys"), M.el("dl", {class: "keys"},
    HELP.map(([key, says]) => M.el("div", {}, M.el("dt", {}, key), M.el("dd", {}, says)))));

  M.onKey = function (event) {
    const target = event.target, isTyped = /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || isTyped || !M.view) return;
    // Space and Enter press what has the focus; but in the list of matches, Enter opens and space plays.
    const isPress = event.key === "Enter" || event.key === " " && !target.classList.contains("row");
    if (isPress && /^(BUTTON|SUMMARY|A)$/.test(target.tagName)) return;
    if (M.view.key(event)) event.preventDefault();
  };
})(midisim);
