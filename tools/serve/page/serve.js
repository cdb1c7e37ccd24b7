"use strict";
// The served page as a whole: a query, options, its search, and the matches in the report's views. The address keeps the state.
(function (M) {
  const MODES = [["both", "notes, then likeness"], ["find", "shared notes alone"], ["likeness", "likeness alone"]];
  const KEYS = [["all", "any key"], ["likely", "three likely keys (faster)"], ["own", "the query's own key"]];
  const STAGES = {waiting: "waiting for other searches", reading: "reading", finding: "comparing notes", embedding: "listening to the query",
    comparing: "comparing with every piece", writing: "collecting", done: "done"};
  const POLL_MS = 400;
  let token = "", running = null, file = null;
  const player = new M.Player(), at = {};

  // ---- The server ----

  const headers = (more) => ({...(token ? {Authorization: `Bearer ${token}`} : {}), ...more});
  async function ask(path, options) {
    const response = await fetch(path, {...options, headers: headers((options || {}).headers)});
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  // ---- The state, in the address ----

  function takeToken() {
    const state = new URLSearchParams(location.hash.slice(1)), given = state.get("token");
    if (given) sessionStorage.setItem("token", given);
    token = given || sessionStorage.getItem("token") || "";
    if (!given) return;
    state.delete("token");
    history.replaceState(null, "", `#${state}`);
  }
  function options() {
    return new URLSearchParams({k: at.k.value, mode: at.mode.value, keys: at.keys.value});
  }
  function keepState(query) {
    const state = options();
    for (const [key, value] of Object.entries(query)) state.set(key, value);
    if (location.hash.slice(1) !== String(state)) history.pushState(null, "", `#${state}`);
  }
  function readState() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const key of ["k", "mode", "keys"]) if (state.has(key)) at[key].value = state.get(key);
    at.notes.value = state.get("notes") || "";
    if (state.has("piece")) search({piece: state.get("piece")});
    else if (at.notes.value) search({notes: at.notes.value});
  }

  // ---- Searching ----

  function say(text, isFailed) {
    M.clear(at.state, M.el("span", {class: isFailed ? "failed" : "", id: "said"}, text), running ? at.cancel : null);
    M.say(text);
  }
  function show(answer) {
    const report = M.readReport(answer.report), matches = report.queries[0].matches.length;
    report.pieces.forEach((piece, i) => { piece.id = answer.ids[i]; });
    if (M.view) M.view.leave();
    M.report = report;
    M.view = new M.MatchesView(report, player);
    M.clear(at.results, matches ? at.more : null, M.view.element);
    say(answer.notice || (matches ? `${M.many(matches, "match", "matches")}` : "Nothing was found."));
  }
  async function follow(mine) {
    while (running === mine) {
      await new Promise((done) => setTimeout(done, POLL_MS));
      if (running !== mine) return;
      try {
        const now = await ask(`api/search/${mine.id}`);
        const before = now.ahead ? `, ${M.many(now.ahead, "search", "searches")} before it` : "";
        if (running === mine) say(`Searching: ${STAGES[now.stage] || now.stage}${before} (${Math.round(now.seconds)} s)`);
      } catch (error) { /* it has just ended */ }
    }
  }
  function cancel() {
    if (!running) return;
    const mine = running;
    running = null;
    ask(`api/search/${mine.id}`, {method: "DELETE"}).catch(() => {});
    mine.control.abort();
    say("Cancelled.");
  }
  // query: {notes}, {piece}, or {file}.
  async function search(query) {
    cancel();
    const mine = running = {id: crypto.randomUUID(), control: new AbortController()};
    const path = options();
    path.set("id", mine.id);
    if (query.file) path.set("name", query.file.name.slice(0, 60));
    say("Searching ...");
    follow(mine);
    try {
      const body = query.file ? await query.file.arrayBuffer() : JSON.stringify(query);
      const answer = await ask(`api/search?${path}`, {method: "POST", body, signal: mine.control.signal,
        headers: {"Content-Type": query.file ? "audio/midi" : "application/json"}});
      if (running !== mine) return;
      running = null;
      show(answer);
    } catch (error) {
      if (running !== mine) return;
      running = null;
      say(error.message, true);
    }
  }
  function searchFile(chosen) {
    file = chosen;
    at.dropped.textContent = M.shown(file.name);
    history.replaceState(null, "", `#${options()}`);
    search({file});
  }
  function searchNotes() {
    const notes = at.notes.value.trim();
    if (!notes) return say("Type some notes first, such as C4 D4 E4 C4.", true);
    file = null;
    keepState({notes});
    return search({notes});
  }
  function searchMatch() {
    const id = M.view.item.link.match.id;
    if (!id) return;
    file = null;
    keepState({piece: id});
    search({piece: id});
  }
  // Other options for the same query.
  function again() {
    const state = new URLSearchParams(location.hash.slice(1));
    if (file) search({file});
    else if (state.has("piece")) { keepState({piece: state.get("piece")}); search({piece: state.get("piece")}); }
    else if (at.notes.value.trim() && M.view) searchNotes();
  }

  // ---- The page ----

  const field = (label, control) => M.el("label", {class: "field"}, M.el("span", {}, label), control);
  const select = (id, choices) => M.el("select", {id, onchange: again}, choices.map(([value, text]) => M.el("option", {value}, text)));

  function build() {
    const input = M.el("input", {type: "file", id: "file", accept: ".mid,.midi,.rmi,audio/midi", "aria-label": "MIDI file",
      onchange: () => { if (input.files[0]) searchFile(input.files[0]); }});
    at.dropped = M.el("strong", {}, "Drop a MIDI file here");
    at.drop = M.el("div", {class: "drop"}, at.dropped, input);
    at.notes = M.el("textarea", {id: "notes", spellcheck: "false", "aria-label": "Notes", placeholder: "E4 E4 F4 G4 G4 F4 E4 D4",
      onkeydown: (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); searchNotes(); } }});
    at.k = M.el("input", {type: "number", id: "k", min: "1", max: "100", value: "16", onchange: again});
    at.mode = select("mode", MODES);
    at.keys = select("keys", KEYS);
    at.cancel = M.el("button", {type: "button", id: "cancel", onclick: cancel}, "Cancel");
    at.state = M.el("div", {class: "state"});
    at.more = M.el("p", {}, M.el("button", {type: "button", id: "more", onclick: searchMatch}, "Search with the chosen match"));
    at.results = M.el("section", {"aria-label": "Matches"});
    at.recorder = new M.Recorder(player, (text) => { at.notes.value = text; });
    M.clear(document.getElementById("main"), M.el("div", {class: "ask"},
      M.el("fieldset", {}, M.el("legend", {}, "A file"), at.drop),
      M.el("fieldset", {}, M.el("legend", {}, "Notes, typed or played"), at.notes, at.recorder.element,
        M.el("div", {class: "row-of"}, M.el("button", {type: "button", id: "go", class: "go", onclick: searchNotes}, "Find these notes"))),
      M.el("div", {class: "row-of"}, field("Matches", at.k), field("By", at.mode), field("In", at.keys))),
    at.state, at.results);
    M.clear(document.getElementById("foot"), M.keysHelp(), M.el("p", {}, "Served by midisim on this machine. ",
      M.el("a", {href: "api/openapi.json"}, "The API for programs")));
  }
  function startDrop() {
    const over = (isOver) => (event) => {
      event.preventDefault();
      at.drop.classList.toggle("over", isOver);
    };
    document.addEventListener("dragover", over(true));
    document.addEventListener("dragleave", over(false));
    document.addEventListener("drop", (event) => {
      over(false)(event);
      if (event.dataTransfer.files[0]) searchFile(event.dataTransfer.files[0]);
    });
  }
  async function showStock() {
    try {
      const state = await ask("api/status");
      document.getElementById("stock").textContent = M.many(Math.max(state.rows, state.pieces), "piece");
      if (!state.hasVectors) at.mode.value = "find";
      if (!state.hasNotes) at.mode.value = "likeness";
      at.mode.disabled = !state.hasVectors || !state.hasNotes;
    } catch (error) {
      say(error.message, true);
    }
  }

  async function start() {
    takeToken();
    build();
    M.startTheme();
    M.player = player;
    startDrop();
    document.addEventListener("keydown", M.onKey);
    window.addEventListener("popstate", readState);
    await showStock();
    document.documentElement.dataset.ready = "1";
    readState();
  }
  start();
})(midisim);
