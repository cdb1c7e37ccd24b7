"use strict";
// The served page as a whole: a query, options, its search, and the matches in the report's views. The address keeps the state.
(function (M) {
  const MODES = [["both", "notes, then likeness"], ["find", "shared notes alone"], ["likeness", "likeness alone"]];
  const KEYS = [["all", "any key"], ["likely", "three likely keys (faster)"], ["own", "the query's own key"]];
  const STAGES = {waiting: "waiting for other searches", reading: "reading", finding: "comparing notes", embedding: "listening to the query",
    comparing: "comparing with every piece", writing: "collecting", done: "done"};
  const EXAMPLES = [["The Dusty Miller", "E4:3/4 F4:1/4 G4:1/2 E4 D4 C4 B3 D4"], ["Ode to Joy", "E4 E4 F4 G4 G4 F4 E4 D4"]];
  const POLL_MS = 400, LOST_MS = 1500, MOST_MATCHES = 100, MOST_KEPT = 12, NAME_CHARS = 60;
  const NARROW = "(max-width: 60rem)";
  let token = "", stock = null, running = null, lost = null, query = null, typed = "";
  const player = new M.Player(), at = {}, files = [], kept = new Map();
  const marks = new M.Marks("midisim marks"); // until the server says what it serves

  // ---- The server ----

  class Lost extends Error {}
  const headers = (more) => ({...(token ? {Authorization: `Bearer ${token}`} : {}), ...more});
  async function ask(path, options) {
    let response, answer;
    try {
      response = await fetch(path, {...options, headers: headers((options || {}).headers)});
      answer = await response.json();
    } catch (error) {
      throw error.name === "AbortError" ? error : new Lost("The server does not answer. Is midisim-serve still running?");
    }
    if (response.status === 401) throw new Error("This page lacks the server's token: open the whole address that midisim-serve printed.");
    if (!response.ok) throw Object.assign(new Error(answer.error), {status: response.status});
    return answer;
  }
  // Not crypto.randomUUID: a page that comes from another machine without encryption has none.
  const newId = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  // ---- The state, in the address ----

  function takeToken() {
    const state = new URLSearchParams(location.hash.slice(1)), given = state.get("token");
    try {
      if (given) sessionStorage.setItem("token", given);
      token = given || sessionStorage.getItem("token") || "";
    } catch { token = given || ""; }
    if (!given) return;
    state.delete("token");
    history.replaceState(null, "", `#${state}`);
  }
  function options() {
    const k = Math.min(MOST_MATCHES, Math.max(1, Math.round(Number(at.k.value)) || 16));
    at.k.value = k;
    return new URLSearchParams({k, mode: at.mode.value, keys: at.keys.value});
  }
  function readOptions(state) {
    for (const select of [at.mode, at.keys])
      if (!select.disabled && [...select.options].some((option) => option.value === state.get(select.id))) select.value = state.get(select.id);
    if (Number(state.get("k")) >= 1) at.k.value = state.get("k");
    options();
  }
  // A file is kept as long as the page lives: the address has its name alone.
  function stateOf(asked) {
    const state = options();
    if (asked.notes) state.set("notes", asked.notes);
    if (asked.piece) state.set("piece", asked.piece);
    if (asked.file !== undefined) state.set("file", files[asked.file].name.slice(0, NAME_CHARS));
    return state;
  }
  const keyOf = () => `${location.hash} ${(history.state || {}).file}`;

  // A new query, or other options for it.
  function go(asked) {
    const state = `#${stateOf(asked)}`, number = asked.file === undefined ? null : {file: asked.file};
    if (location.hash !== state || (history.state || {}).file !== asked.file) history.pushState(number, "", state);
    query = asked;
    search(true);
  }
  // What the address says: when the page opens, and for the Back and Forward buttons.
  function readState() {
    const state = new URLSearchParams(location.hash.slice(1)), number = (history.state || {}).file;
    readOptions(state);
    query = state.has("piece") ? {piece: state.get("piece")} : state.get("notes") ? {notes: state.get("notes")}
      : state.has("file") ? {file: number} : null;
    setTune((query || {}).notes || "", true);
    showFile(query && query.file !== undefined && files[number] ? files[number].name : "");
    stop();
    if (!query) welcome();
    else if (state.has("file") && !files[number]) {
      query = null;
      welcome(`Choose ${M.shown(state.get("file"))} again: a link does not hold the file.`);
    } else if (kept.has(keyOf())) show(kept.get(keyOf()));
    else search(false);
  }

  // ---- What is said ----

  function say(text, ...more) {
    M.clear(at.state, M.el("span", {id: "said"}, text), more);
  }
  function fail(error) {
    const again = M.el("button", {type: "button", id: "again", onclick: () => (query ? search(false) : location.reload())}, "Try again");
    const [, place, what] = /^phrase: character (\d+): (.*)$/s.exec(error.message) || [];
    welcome();
    if (place) pointAt(Number(place) - 1);
    const file = query && files[query.file], isOfFile = file && (error.status === 400 || error.status === 422);
    const text = place ? `Character ${place}: ${what}` : isOfFile ? `${M.shown(file.name)} cannot be searched: ${error.message}` : error.message;
    M.clear(at.state, M.el("span", {id: "said", class: "failed"}, text), error.status === 503 || error instanceof Lost ? again : null);
    M.say(text);
  }
  // The word of the notes that could not be read.
  function pointAt(from) {
    const length = at.notes.value.slice(from).search(/[\s,|]|$/);
    at.notes.focus();
    at.notes.setSelectionRange(from, from + Math.max(length, 1));
  }
  // The page without matches.
  function welcome(text) {
    if (M.view) M.view.leave();
    M.view = null;
    document.title = "midisim";
    M.clear(at.results);
    document.body.classList.remove("has-results");
    say(text || "");
  }

  // ---- Searching ----

  // Whatever runs or is waited for is not wanted any more.
  function stop() {
    lost = null;
    if (!running) return;
    const mine = running;
    running = null;
    ask(`api/search/${mine.id}`, {method: "DELETE"}).catch(() => {});
    mine.control.abort();
  }
  function cancel() {
    stop();
    welcome("Cancelled.");
    M.say("Cancelled.");
    at.go.focus();
  }
  function showProgress(mine, text, share) {
    if (mine.stage !== text) M.say(`Searching: ${text}`);
    mine.stage = text;
    if (typeof share === "number") at.progress.value = Math.min(1, Math.max(0, share));
    else at.progress.removeAttribute("value");
    if (at.cancel.isConnected && at.said) at.said.textContent = `Searching: ${text} (${Math.round((performance.now() - mine.began) / 1000)} s)`;
  }
  function startProgress() {
    at.progress.removeAttribute("value");
    at.said = M.el("span", {id: "said"}, "Searching …");
    M.clear(at.state, at.said, at.progress, at.cancel);
  }
  async function follow(mine) {
    while (running === mine) {
      await new Promise((done) => setTimeout(done, POLL_MS));
      if (running !== mine) return;
      try {
        const now = await ask(`api/search/${mine.id}`);
        const before = now.ahead ? `, ${M.many(now.ahead, "search", "searches")} before it` : "";
        if (running === mine) showProgress(mine, `${STAGES[now.stage] || now.stage}${before}`, now.share);
      } catch { /* it has just ended */ }
    }
  }
  async function search(isNew) {
    stop();
    const asked = query, key = keyOf(), mine = running = {id: newId(), control: new AbortController(), began: performance.now()};
    const path = options(), file = files[asked.file];
    path.set("id", mine.id);
    if (file) path.set("name", [...file.name].slice(0, NAME_CHARS).join(""));
    startProgress();
    follow(mine);
    try {
      const body = file ? await file.arrayBuffer() : JSON.stringify(asked);
      const answer = await ask(`api/search?${path}`, {method: "POST", body, signal: mine.control.signal,
        headers: {"Content-Type": file ? "audio/midi" : "application/json"}});
      if (running !== mine) return;
      running = null;
      const entry = {report: readAnswer(answer), notice: answer.notice}, found = entry.report.queries[0];
      entry.chosen = Math.max(0, found.matches.findIndex((link) => link.match !== found.piece)); // a piece is like itself
      keep(key, entry);
      show(entry, isNew);
    } catch (error) {
      if (running !== mine) return;
      running = null;
      fail(error);
      if (error instanceof Lost) waitForServer();
    }
  }
  // Ask again until the server is there, then repeat the search.
  async function waitForServer() {
    const mine = lost = {};
    while (lost === mine) {
      await new Promise((done) => setTimeout(done, LOST_MS));
      if (lost !== mine) return;
      try {
        await showStock();
        if (lost === mine) search(false);
        return;
      } catch (error) {
        if (error instanceof Lost) continue;
        if (lost === mine) fail(error);
        return;
      }
    }
  }

  // ---- Matches ----

  function readAnswer(answer) {
    const report = M.readReport(answer.report);
    report.pieces.forEach((piece, i) => { piece.id = answer.ids[i]; });
    return report;
  }
  function keep(key, entry) {
    kept.delete(key);
    kept.set(key, entry);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  function show(entry, isNew) {
    const asked = entry.report.queries[0], matches = asked.matches.length;
    if (M.view) M.view.leave();
    document.title = `${asked.piece.label} – midisim`;
    document.body.classList.toggle("has-results", matches > 0);
    say(entry.notice || (matches ? "" : "Nothing was found. Try more notes, or a search by likeness."));
    M.say(matches ? `${M.many(matches, "match", "matches")}. ${M.sentence(asked.matches[entry.chosen])}` : "Nothing was found.");
    M.view = null;
    if (!matches) return M.clear(at.results);
    M.report = entry.report;
    M.view = at.view;
    if (!at.view.element.isConnected) M.clear(at.results, at.view.element);
    at.view.onOpen = null;
    at.view.show(entry.report, entry.chosen);
    at.view.onOpen = (item) => { entry.chosen = item.rank - 1; };
    if (isNew && window.matchMedia(NARROW).matches) at.state.scrollIntoView({block: "start"});
    return undefined;
  }

  // ---- Queries ----

  function searchFile(chosen) {
    files.push(chosen);
    showFile(chosen.name);
    showPiano(false);
    setTune("");
    go({file: files.length - 1});
  }
  function searchNotes() {
    const notes = at.notes.value.trim();
    showFile("");
    if (!notes) return fail(new Error("Type some notes first, such as C4 D4 E4 C4."));
    if (!at.recorder.played.length) showPiano(false);
    setTune(at.notes.value, true);
    return go({notes});
  }
  function searchPiece(piece) {
    showFile("");
    showPiano(false);
    setTune("");
    go({piece});
    window.scrollTo(0, 0);
  }
  const anyPiece = () => (stock.rows ? `r${Math.floor(Math.random() * stock.rows)}` : `n${Math.floor(Math.random() * stock.pieces)}`);
  function again() {
    if (query) go(query);
  }

  // What is played is added to what was typed; but a tune that was searched is over: the next note begins another one.
  function setTune(text, isOver) {
    if (at.notes.value !== text) at.notes.value = text;
    typed = isOver ? "" : text.trim();
    at.recorder.restart();
  }
  function onPlayed(text) {
    at.notes.value = [typed, text].filter(Boolean).join(" ");
  }

  // ---- The page ----

  const select = (id, label, choices) => M.el("select", {id, "aria-label": label, onchange: again},
    choices.map(([value, text]) => M.el("option", {value}, text)));

  function buildTune() {
    at.notes = M.el("textarea", {id: "notes", rows: "2", spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-label": "Notes",
      "aria-describedby": "notes-help", placeholder: "E4 E4 F4 G4 G4 F4 E4 D4",
      oninput: () => setTune(at.notes.value),
      onkeydown: (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); searchNotes(); } }});
    at.go = M.el("button", {type: "button", id: "go", class: "go", onclick: searchNotes}, "Find");
    at.recorder = new M.Recorder(player, onPlayed);
    at.pianoButton = M.el("button", {type: "button", id: "show-piano", "aria-expanded": "false",
      onclick: () => showPiano(at.recorder.element.hidden)}, "♪ Piano");
    const clear = M.el("button", {type: "button", id: "forget", onclick: () => { setTune(""); at.notes.focus(); }}, "Clear");
    return M.el("section", {class: "panel tune", "aria-labelledby": "tune-title"}, M.el("h2", {id: "tune-title"}, "Type or play a tune"),
      M.el("div", {class: "tune-row"}, at.notes, M.el("div", {class: "tune-buttons"}, at.go, at.pianoButton, clear)),
      M.el("p", {class: "dim", id: "notes-help"}, "Eight notes or more. C4 is middle C, F#4 and Bb3 are black keys, G4:2 lasts two beats, R is a rest."),
      at.recorder.element);
  }
  function showPiano(isShown) {
    at.recorder.element.hidden = !isShown;
    at.pianoButton.setAttribute("aria-expanded", String(isShown));
    if (isShown && at.ready) at.recorder.piano.focus({preventScroll: true});
  }
  function buildFile() {
    const input = M.el("input", {type: "file", id: "file", class: "hidden", accept: ".mid,.midi,.rmi,.kar,audio/midi",
      onchange: () => {
        if (input.files[0]) searchFile(input.files[0]);
        input.value = ""; // the same file may be chosen again
      }});
    at.fileName = M.el("p", {class: "file-name", hidden: true});
    at.drop = M.el("div", {class: "drop"}, M.el("p", {class: "drop-help"}, "Drop it anywhere on this page"),
      M.el("label", {class: "choose"}, "Choose a file …", input), at.fileName);
    return M.el("section", {class: "panel", "aria-labelledby": "file-title"}, M.el("h2", {id: "file-title"}, "Or take a MIDI file"), at.drop);
  }
  function showFile(name) {
    at.fileName.hidden = !name;
    at.fileName.textContent = M.shown(name);
  }
  function buildOptions() {
    at.k = M.el("input", {type: "number", id: "k", min: "1", max: String(MOST_MATCHES), value: "16", "aria-label": "Number of matches", onchange: again});
    at.mode = select("mode", "Searched by", MODES);
    at.keys = select("keys", "Keys", KEYS);
    const part = (text, control) => M.el("span", {class: "part"}, M.el("span", {}, text), control);
    return M.el("div", {class: "options", role: "group", "aria-label": "Options"}, part("Show up to", at.k), part("matches by", at.mode),
      part("in", at.keys));
  }
  function buildExamples() {
    const chip = (text, action, more) => M.el("button", {type: "button", class: "chip", onclick: action}, text,
      more ? M.el("span", {class: "notes"}, more) : null);
    return M.el("div", {class: "examples", role: "group", "aria-label": "Examples"}, M.el("span", {class: "dim"}, "Try"),
      EXAMPLES.map(([name, notes]) => chip(name, () => { setTune(notes); searchNotes(); }, notes)),
      chip("any piece of the collection", () => searchPiece(anyPiece())));
  }
  const LEAD = "First come the pieces that have the same notes, in any key and at any tempo";

  function build() {
    at.cancel = M.el("button", {type: "button", id: "cancel", onclick: cancel}, "Cancel");
    at.progress = M.el("progress", {id: "progress", max: "1", "aria-label": "How far the search is"});
    at.state = M.el("div", {class: "state"});
    at.results = M.el("section", {"aria-label": "Matches"});
    at.lead = M.el("p", {class: "lead"}, `${LEAD}, then those that sound alike.`);
    M.clear(document.getElementById("main"), M.el("div", {class: "ask", role: "search", "aria-label": "Query"}, buildTune(), buildFile()),
      buildOptions(), M.el("div", {class: "welcome"}, at.lead, buildExamples()), at.state, at.results);
    at.view = new M.MatchesView(player, marks, {actions: ({link}) => (link.match.id
      ? M.el("button", {type: "button", id: "more", onclick: () => searchPiece(link.match.id)}, "Find more like this") : null)});
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
    stock = await ask("api/status");
    marks.move(`midisim marks ${stock.name}`);
    document.getElementById("stock").textContent = `in ${M.many(Math.max(stock.rows, stock.pieces), "piece")}`;
    if (!stock.hasVectors) at.lead.textContent = `${LEAD}.`;
    if (!stock.hasVectors) at.mode.value = "find";
    if (!stock.hasNotes) at.mode.value = "likeness";
    at.mode.disabled = !stock.hasVectors || !stock.hasNotes;
  }

  async function start() {
    takeToken();
    build();
    M.startTheme();
    M.player = player;
    startDrop();
    document.addEventListener("keydown", M.onKey);
    window.addEventListener("popstate", readState);
    try {
      await showStock();
      readState();
    } catch (error) {
      fail(error);
    }
    showPiano(!query && !window.matchMedia(NARROW).matches);
    at.ready = true;
    document.documentElement.dataset.ready = "1";
  }
  start();
})(midisim);
