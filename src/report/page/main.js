"use strict";
// The page as a whole: stored data, tabs, theme, keys.
(function (M) {
  function read(stored) {
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
  }

  // What it is about, when nobody has given it a heading.
  function titleOf(report) {
    const n = report.queries.length;
    if (n === 1) return `Music like ${report.queries[0].piece.from === "given" ? "these notes" : report.queries[0].piece.label}`;
    if (n) return `Music like ${M.many(n, "query", "queries")}`;
    return report.groups.length ? "Files that are the same music" : "A map of the collection";
  }

  // ---- Theme ----

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    const button = document.getElementById("theme");
    button.textContent = name === "dark" ? "☀ Light" : "☾ Dark";
    button.setAttribute("aria-label", name === "dark" ? "Use light colours" : "Use dark colours");
    M.themed();
  }
  function startTheme() {
    const wished = window.matchMedia("(prefers-color-scheme: dark)");
    setTheme(wished.matches ? "dark" : "light");
    wished.addEventListener("change", () => setTheme(wished.matches ? "dark" : "light"));
    document.getElementById("theme").addEventListener("click", () =>
      setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  }

  // ---- Views ----

  function makeViews(report, player) {
    const views = [];
    if (report.queries.length) views.push(["Matches", () => new M.MatchesView(report, player)]);
    if (report.groups.length) views.push(["Groups", () => new M.GroupsView(report, player)]);
    if (report.map) views.push(["Map", () => new M.MapView(report.map, player)]);
    return views;
  }

  function showView(views, number) {
    const main = document.getElementById("main"), tabs = document.getElementById("tabs");
    if (M.view) M.view.leave();
    views[number].made = views[number].made || views[number][1]();
    M.view = views[number].made;
    M.clear(main, M.view.element);
    [...tabs.children].forEach((tab, i) => tab.setAttribute("aria-pressed", String(i === number)));
  }

  const HELP = [["Space", "play, pause"], ["A, B", "hear the query, the match"], ["L", "loop the passage"],
    ["←, →", "a second back, on"], ["↑, ↓", "match before, next match"], ["+, −, 0", "zoom, show the passage"],
    ["K, R", "keep, reject"]];

  function showFoot(stored, report) {
    const lacking = report.pieces.filter((piece) => !piece.hasNotes).length;
    M.clear(document.getElementById("foot"),
      M.el("details", {}, M.el("summary", {}, "Keys"), M.el("dl", {class: "keys"},
        HELP.map(([key, says]) => M.el("div", {}, M.el("dt", {}, key), M.el("dd", {}, says))))),
      lacking ? M.el("p", {}, `${M.many(lacking, "piece")} without notes: the report was made without their MIDI files. ` +
        "--midi-root names the folder that holds them.") : null,
      M.el("p", {}, `Made by ${M.shown(stored.made)}. This file is complete: it needs no network.`));
  }

  function onKey(event) {
    const target = event.target, isTyped = /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || isTyped || !M.view) return;
    // Space and Enter press what has the focus; but in the list of matches, Enter opens and space plays.
    const isPress = event.key === "Enter" || event.key === " " && !target.classList.contains("row");
    if (isPress && /^(BUTTON|SUMMARY|A)$/.test(target.tagName)) return;
    if (M.view.key(event)) event.preventDefault();
  }

  function start() {
    const stored = JSON.parse(document.getElementById("data").textContent);
    const report = read(stored), player = new M.Player(), views = makeViews(report, player);
    const title = M.shown(report.title) || titleOf(report);
    document.title = title;
    document.getElementById("title").textContent = title;
    startTheme();
    const tabs = document.getElementById("tabs");
    if (views.length > 1) M.clear(tabs, views.map(([name], i) => M.el("button", {type: "button", onclick: () => showView(views, i)}, name)));
    M.report = report;
    M.player = player;
    if (views.length) showView(views, 0);
    else M.clear(document.getElementById("main"), M.el("p", {class: "lead"}, "There is nothing in this report."));
    showFoot(stored, report);
    document.addEventListener("keydown", onKey);
    document.documentElement.dataset.ready = "1";
  }
  start();
})(midisim);
