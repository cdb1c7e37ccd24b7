"use strict";
// Notes that are played: on the computer's keys, on a drawn keyboard, or by WebMIDI. They become text, as one would type them.
(function (M) {
  // Keys by their place, whatever is printed on them; the first one is a C.
  const CODES = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK", "KeyO", "KeyL",
    "KeyP", "Semicolon"];
  const NAMES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
  const BEAT_MS = 500, STEPS = 4, MOST_STEPS = 16; // of a beat; a rest longer than four beats is one of four
  const CHORD_MS = 35, LEAST_OCTAVE = 1, MOST_OCTAVE = 8;

  const isBlack = (pitch) => NAMES[pitch % 12].length > 1;
  const nameOf = (pitch) => (pitch < 12 ? String(pitch) : `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`);
  const saidOf = (pitch) => nameOf(pitch).replace("#", " sharp ");
  // "E4:3/4", "C4+E4:2": lengths in quarters of a beat. Without one it would be that of the note before.
  function written(pitches, ms) {
    const steps = Math.min(MOST_STEPS, Math.max(1, Math.round(ms * STEPS / BEAT_MS)));
    return `${pitches.map(nameOf).join("+")}:${steps % STEPS ? `${steps}/${STEPS}` : steps / STEPS}`;
  }

  M.Recorder = class {
    // onText(text) is told all notes so far, as text.
    constructor(player, onText) {
      this.player = player;
      this.onText = onText;
      this.played = []; // {pitches, at}: what began together
      this.octave = 5; // of twelve semitones: 60 is the key on the left
      this.build();
    }

    build() {
      this.keys = CODES.map((code, i) => this.drawnKey(i));
      this.midi = M.el("button", {type: "button", id: "midi", onclick: () => this.listen(), hidden: !navigator.requestMIDIAccess},
        "Use a MIDI keyboard");
      this.heard = M.el("span", {class: "dim", id: "midi-state", role: "status"});
      const octave = (id, by, text, label) => M.el("button", {type: "button", id, "aria-label": label, title: label, class: "small",
        onclick: () => this.shift(by)}, text);
      this.piano = M.el("div", {class: "piano", id: "piano", tabindex: "0", role: "group", onkeydown: (event) => this.key(event),
        "aria-label": "Piano: the keys A to P play, Z and X change the octave, Backspace takes the last note back"},
      this.keys.map((key) => key.element));
      this.element = M.el("div", {class: "recorder"}, this.piano,
        M.el("div", {class: "row-of"}, octave("octave-down", -1, "◂ Octave", "An octave lower (Z)"),
          octave("octave-up", 1, "Octave ▸", "An octave higher (X)"), this.midi, this.heard),
        M.el("p", {class: "dim letters-help"}, "Click the piano, then play on the keys A to P; Z and X change the octave, Backspace takes a note back."));
      this.label();
      this.readLayout();
    }
    drawnKey(i) {
      const name = M.el("span", {class: "note-name"}), letter = M.el("span", {class: "letter"});
      const element = M.el("button", {type: "button", tabindex: "-1", class: isBlack(i) ? "black" : "white",
        onpointerdown: (event) => this.press(event, i),
        onclick: (event) => { if (event.detail === 0) this.note(this.octave * 12 + i); }}, name, letter); // detail 0: no pointer did it
      const whites = [...Array(i).keys()].filter((each) => !isBlack(each)).length;
      element.style.gridColumn = isBlack(i) ? `${3 * whites} / span 2` : `${3 * whites + 1} / span 3`;
      return {element, name, letter};
    }
    press(event, i) {
      if (event.button) return;
      event.preventDefault();
      this.piano.focus({preventScroll: true});
      this.note(this.octave * 12 + i);
    }
    label() {
      this.keys.forEach(({element, name}, i) => {
        const pitch = this.octave * 12 + i;
        element.setAttribute("aria-label", saidOf(pitch));
        name.textContent = isBlack(i) ? "" : i % 12 ? NAMES[i % 12] : nameOf(pitch);
      });
    }
    // What is printed on the keys, where the browser tells.
    async readLayout() {
      const letters = CODES.map((code) => (code === "Semicolon" ? ";" : code.slice(3)));
      try {
        const layout = await navigator.keyboard.getLayoutMap();
        CODES.forEach((code, i) => { letters[i] = (layout.get(code) || letters[i]).toUpperCase(); });
      } catch { /* those of an English keyboard */ }
      this.keys.forEach(({letter}, i) => { letter.textContent = letters[i]; });
    }
    shift(by) {
      this.octave = Math.min(MOST_OCTAVE, Math.max(LEAST_OCTAVE, this.octave + by));
      this.label();
      M.say(`The piano begins at ${saidOf(this.octave * 12)}`);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const at = CODES.indexOf(event.code), octaves = {KeyZ: -1, KeyX: 1}[event.code];
      if (at < 0 && !octaves && event.key !== "Backspace") return;
      event.preventDefault();
      event.stopPropagation();
      if (event.repeat) return;
      if (at >= 0) this.note(this.octave * 12 + at);
      else if (octaves) this.shift(octaves);
      else this.takeBack();
    }

    note(pitch, velocity) {
      const now = performance.now(), last = this.played[this.played.length - 1];
      this.sound(pitch, velocity || 90);
      if (last && now - last.at < CHORD_MS && !last.pitches.includes(pitch)) last.pitches.push(pitch);
      else this.played.push({pitches: [pitch], at: now});
      this.show(pitch);
      this.onText(this.text);
    }
    sound(pitch, velocity) {
      this.player.open();
      this.bus = this.bus || this.player.synth.bus();
      this.player.synth.note(this.bus, 0, pitch, velocity, this.player.context.currentTime + 0.01, 0.4);
    }
    show(pitch) {
      const key = this.keys[pitch - this.octave * 12];
      if (!key) return;
      key.element.classList.add("down");
      setTimeout(() => key.element.classList.remove("down"), 150);
    }
    get text() {
      return this.played.map(({pitches, at}, i) =>
        written(pitches, i + 1 < this.played.length ? this.played[i + 1].at - at : BEAT_MS)).join(" ");
    }
    takeBack() {
      if (!this.played.length) return;
      this.played.pop();
      this.onText(this.text);
    }
    // The next note begins a new tune.
    restart() { this.played = []; }

    // ---- A MIDI keyboard ----

    async listen() {
      try {
        const access = await navigator.requestMIDIAccess();
        access.onstatechange = () => this.hearInputs(access);
        this.hearInputs(access);
      } catch {
        this.heard.textContent = "The browser does not allow MIDI here: allow it for this page, then try again.";
      }
    }
    hearInputs(access) {
      const inputs = [...access.inputs.values()].filter((input) => input.state !== "disconnected");
      for (const input of inputs)
        input.onmidimessage = ({data}) => { if ((data[0] & 0xf0) === 0x90 && data[2]) this.note(data[1], data[2]); };
      this.midi.hidden = inputs.length > 0;
      this.heard.textContent = inputs.length ? `Play: ${inputs.map((input) => M.shown(input.name)).join(", ")} is heard.`
        : "No MIDI keyboard is connected: connect one, and it is heard.";
    }
  };
})(midisim);
