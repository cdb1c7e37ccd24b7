"use strict";
// The page of a report as a whole: its data, title, tabs, foot.
(function (M) {
  // What it is about, when nobody has given it a heading.
  function titleOf(report) {
    const n = report.queries.length;
    if (n === 1) return `Music like ${report.queries[0].piece.from === "given" ? "these notes" : report.queries[0].piece.label}`;
    if (n) return `Music like ${M.many(n, "query", "queries")}`;
    return report.groups.length ? "Files that are the same music" : "A map of the collection";
  }

  // ---- Views ----

  function makeViews(report, player) {
    const views = [];
    if (report.queries.length) views.push(["Matches", () => {
      const view = new M.MatchesView(player, new M.Marks(M.reportKey(report)));
      view.show(report);
      return view;
    }]);
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

  function showFoot(stored, report) {
    const lacking = report.pieces.filter((piece) => !piece.hasNotes).length;
    M.clear(document.getElementById("foot"), M.keysHelp(),
      lacking ? M.el("p", {}, `${M.many(lacking, "piece")} without notes: the report was made without their MIDI files. ` +
        "--midi-root names the folder that holds them.") : null,
      M.el("p", {}, `Made by ${M.shown(stored.made)}. This file is complete: it needs no network.`));
  }

  function start() {
    const stored = JSON.parse(document.getElementById("data").textContent);
    const report = M.readReport(stored), player = new M.Player(), views = makeViews(report, player);
    const title = M.shown(report.title) || titleOf(report);
    document.title = title;
    document.getElementById("title").textContent = title;
    M.startTheme();
    const tabs = document.getElementById("tabs");
    if (views.length > 1) M.clear(tabs, views.map(([name], i) => M.el("button", {type: "button", onclick: () => showView(views, i)}, name)));
    M.report = report;
    M.player = player;
    if (views.length) showView(views, 0);
    else M.clear(document.getElementById("main"), M.el("p", {class: "lead"}, "There is nothing in this report."));
    showFoot(stored, report);
    document.addEventListener("keydown", M.onKey);
    document.documentElement.dataset.ready = "1";
  }
  start();
})(midisim);
