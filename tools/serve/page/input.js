"use strict";
// Notes that are played: on the computer's keys, on a drawn keyboard, or by WebMIDI. They become text, as one would type them.
(function (M) {
  const KEYS = "awsedftgyhujkolp", BLACK = new Set([1, 3, 6, 8, 10]), NAMES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
  const BEAT_MS = 500, STEPS = 4, MOST_STEPS = 16; // of a beat; a rest longer than four beats is one of four

  const nameOf = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
  // "E4:3/4": a length in quarters of a beat. Without one it would be that of the note before.
  function written(pitch, ms) {
    const steps = Math.min(MOST_STEPS, Math.max(1, Math.round(ms * STEPS / BEAT_MS)));
    return `${nameOf(pitch)}:${steps % STEPS ? `${steps}/${STEPS}` : steps / STEPS}`;
  }

  M.Recorder = class {
    // onText(text) is told all notes so far, as text.
    constructor(player, onText) {
      this.player = player;
      this.onText = onText;
      this.played = [];
      this.octave = 5; // of twelve semitones: 60 is the key on the left
      this.buttons = [...KEYS].map((key, i) => M.el("button", {type: "button", class: BLACK.has(i % 12) ? "black" : "white",
        "aria-label": nameOf(this.octave * 12 + i), onclick: () => this.note(this.octave * 12 + i)}, key.toUpperCase()));
      this.midi = M.el("button", {type: "button", id: "midi", onclick: () => this.listen(), hidden: !navigator.requestMIDIAccess}, "Use a MIDI keyboard");
      this.element = M.el("div", {id: "recorder", tabindex: "0", role: "group", onkeydown: (event) => this.key(event),
        "aria-label": "Keyboard: the keys A to P play notes, Z and X change the octave"},
      M.el("div", {class: "piano"}, this.buttons),
      M.el("div", {class: "row-of"}, this.midi, M.el("button", {type: "button", id: "forget", onclick: () => this.forget()}, "Forget what I played"),
        M.el("span", {class: "dim"}, "Click here, then play on the keys A to P; Z and X change the octave.")));
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      const key = event.key.toLowerCase(), at = KEYS.indexOf(key);
      if (key.length !== 1 || (at < 0 && key !== "z" && key !== "x")) return;
      event.preventDefault();
      event.stopPropagation();
      if (at >= 0) this.note(this.octave * 12 + at);
      else this.octave = Math.min(8, Math.max(1, this.octave + (key === "x" ? 1 : -1)));
      this.buttons.forEach((button, i) => button.setAttribute("aria-label", nameOf(this.octave * 12 + i)));
    }

    note(pitch, velocity) {
      const now = performance.now();
      this.player.open();
      this.bus = this.bus || this.player.synth.bus();
      this.player.synth.note(this.bus, 0, pitch, velocity || 90, this.player.context.currentTime + 0.01, 0.4);
      this.played.push({pitch, at: now});
      const button = this.buttons[pitch - this.octave * 12];
      if (button) {
        button.classList.add("down");
        setTimeout(() => button.classList.remove("down"), 150);
      }
      this.onText(this.text);
    }
    get text() {
      return this.played.map(({pitch, at}, i) => written(pitch, i + 1 < this.played.length ? this.played[i + 1].at - at : BEAT_MS)).join(" ");
    }
    forget() {
      this.played = [];
      this.onText("");
    }

    async listen() {
      try {
        const access = await navigator.requestMIDIAccess(), inputs = [...access.inputs.values()];
        for (const input of inputs)
          input.onmidimessage = ({data}) => { if ((data[0] & 0xf0) === 0x90 && data[2]) this.note(data[1], data[2]); };
        this.midi.textContent = inputs.length ? `Listening to ${inputs.map((input) => M.shown(input.name)).join(", ")}` : "No MIDI keyboard is connected";
      } catch (error) {
        this.midi.textContent = "The browser does not allow MIDI here";
      }
    }
  };
})(midisim);
