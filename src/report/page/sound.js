"use strict";
// A small synthesiser: one recipe for each family of instruments, and drums. Nothing sounds, and no audio is opened,
// before someone asks for it.
(function (M) {
  // partials: strengths of the harmonics; attack, decay, release: seconds; sustain: 0..1; cut: low-pass in multiples of
  // the note's frequency (0: none).
  const RECIPES = [
    {partials: [1, 0.5, 0.28, 0.16, 0.1, 0.06], attack: 0.004, decay: 1.4, sustain: 0, release: 0.15, cut: 9}, // piano
    {partials: [1, 0, 0.3, 0, 0.15, 0, 0.3], attack: 0.002, decay: 0.9, sustain: 0, release: 0.4, cut: 0}, // bells
    {partials: [1, 0.7, 0.5, 0.5, 0, 0.3, 0, 0.25], attack: 0.02, decay: 0, sustain: 0.7, release: 0.06, cut: 0}, // organ
    {partials: [1, 0.6, 0.45, 0.3, 0.2, 0.12], attack: 0.003, decay: 0.8, sustain: 0, release: 0.1, cut: 7}, // guitar
    {partials: [1, 0.6, 0.25, 0.1], attack: 0.006, decay: 1.1, sustain: 0.15, release: 0.08, cut: 6}, // bass
    {partials: [1, 0.55, 0.4, 0.3, 0.22, 0.15, 0.1], attack: 0.09, decay: 0.3, sustain: 0.8, release: 0.2, cut: 6}, // strings
    {partials: [1, 0.5, 0.35, 0.2, 0.12], attack: 0.12, decay: 0.3, sustain: 0.8, release: 0.3, cut: 5}, // ensemble, choir
    {partials: [1, 0.8, 0.7, 0.5, 0.35, 0.25, 0.15], attack: 0.04, decay: 0.2, sustain: 0.75, release: 0.1, cut: 6}, // brass
    {partials: [1, 0.15, 0.6, 0.12, 0.35, 0.1, 0.2], attack: 0.03, decay: 0.2, sustain: 0.75, release: 0.08, cut: 7}, // reed
    {partials: [1, 0.25, 0.1, 0.04], attack: 0.05, decay: 0.2, sustain: 0.8, release: 0.1, cut: 0}, // pipe
    {partials: [1, 0, 0.33, 0, 0.2, 0, 0.14, 0, 0.11], attack: 0.01, decay: 0.1, sustain: 0.6, release: 0.08, cut: 8}, // lead
    {partials: [1, 0.5, 0.33, 0.25, 0.2], attack: 0.25, decay: 0.5, sustain: 0.7, release: 0.5, cut: 4}, // pad
    {partials: [1, 0.4, 0, 0.3, 0, 0.2], attack: 0.15, decay: 0.6, sustain: 0.5, release: 0.5, cut: 5}, // effects
    {partials: [1, 0.7, 0.4, 0.35, 0.2, 0.15], attack: 0.003, decay: 0.6, sustain: 0, release: 0.1, cut: 8}, // ethnic
    {partials: [1, 0, 0.5, 0, 0.4], attack: 0.002, decay: 0.35, sustain: 0, release: 0.1, cut: 0}, // percussive
    {partials: [1, 0.3], attack: 0.02, decay: 0.5, sustain: 0.2, release: 0.2, cut: 4}, // noises
  ];
  const MOST_VOICES = 64, AHEAD_S = 0.25, TICK_MS = 60;

  class Synth {
    constructor(context) {
      this.context = context;
      this.waves = RECIPES.map((recipe) => {
        const imaginary = new Float32Array([0, ...recipe.partials]);
        return context.createPeriodicWave(new Float32Array(imaginary.length), imaginary);
      });
      this.noise = context.createBuffer(1, context.sampleRate, context.sampleRate);
      const samples = this.noise.getChannelData(0);
      let state = 1; // the same noise each time
      for (let i = 0; i < samples.length; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        samples[i] = state / 2147483648 - 1;
      }
      this.out = context.createDynamicsCompressor();
      this.volume = context.createGain();
      this.volume.gain.value = 0.5;
      this.volume.connect(this.out);
      this.sounding = new Set();
    }

    // A gain that everything of one playback goes through, so that it can be ended at once.
    bus() {
      const gain = this.context.createGain();
      gain.connect(this.volume);
      return gain;
    }

    keep(source, until) {
      if (this.sounding.size >= MOST_VOICES) {
        const oldest = this.sounding.values().next().value;
        this.sounding.delete(oldest);
        try { oldest.stop(); } catch { /* it has ended */ }
      }
      this.sounding.add(source);
      source.onended = () => this.sounding.delete(source);
      source.stop(until);
    }

    note(bus, program, pitch, velocity, at, length) {
      const recipe = RECIPES[program >> 3] || RECIPES[0], c = this.context;
      const frequency = 440 * 2 ** ((pitch - 69) / 12), loud = 0.16 * (velocity / 127) ** 1.4;
      const oscillator = c.createOscillator(), gain = c.createGain();
      const held = Math.max(length, 0.06), end = at + held;
      oscillator.setPeriodicWave(this.waves[program >> 3] || this.waves[0]);
      oscillator.frequency.value = frequency;
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(loud, at + recipe.attack);
      if (recipe.decay) gain.gain.setTargetAtTime(loud * recipe.sustain, at + recipe.attack, recipe.decay / 3);
      gain.gain.setTargetAtTime(0, end, recipe.release / 3);
      let last = oscillator;
      if (recipe.cut) {
        const filter = c.createBiquadFilter();
        filter.type = "lowpass";
        filter.frequency.value = Math.min(frequency * recipe.cut, 16000);
        last.connect(filter);
        last = filter;
      }
      last.connect(gain);
      gain.connect(bus);
      oscillator.start(at);
      this.keep(oscillator, end + recipe.release * 2);
    }

    // General MIDI drums, as few sounds.
    drum(bus, pitch, velocity, at) {
      const loud = 0.5 * (velocity / 127) ** 1.4;
      if (pitch <= 36) this.thump(bus, 150, 45, 0.28, loud, at);
      else if (pitch === 38 || pitch === 40 || pitch === 37 || pitch === 39) {
        this.hiss(bus, "bandpass", 1900, pitch === 37 ? 0.05 : 0.16, loud * 0.8, at);
        if (pitch !== 39) this.thump(bus, 240, 160, 0.1, loud * 0.6, at);
      } else if (pitch === 42 || pitch === 44 || pitch === 54 || pitch >= 69 && pitch <= 70) {
        this.hiss(bus, "highpass", 7500, 0.05, loud * 0.5, at);
      } else if (pitch === 46) this.hiss(bus, "highpass", 7000, 0.3, loud * 0.5, at);
      else if (pitch === 49 || pitch === 52 || pitch === 55 || pitch === 57) this.hiss(bus, "highpass", 4500, 1.1, loud * 0.5, at);
      else if (pitch === 51 || pitch === 53 || pitch === 59) this.hiss(bus, "bandpass", 6000, 0.5, loud * 0.4, at);
      else if (pitch >= 41 && pitch <= 50) this.thump(bus, 90 + (pitch - 41) * 18, 60 + (pitch - 41) * 12, 0.3, loud * 0.8, at);
      else this.thump(bus, 300 + (pitch - 60) * 14, 240 + (pitch - 60) * 12, 0.12, loud * 0.5, at);
    }

    thump(bus, from, to, length, loud, at) {
      const oscillator = this.context.createOscillator(), gain = this.context.createGain();
      oscillator.frequency.setValueAtTime(Math.max(from, 30), at);
      oscillator.frequency.exponentialRampToValueAtTime(Math.max(to, 20), at + length * 0.7);
      gain.gain.setValueAtTime(loud, at);
      gain.gain.exponentialRampToValueAtTime(0.001, at + length);
      oscillator.connect(gain);
      gain.connect(bus);
      oscillator.start(at);
      this.keep(oscillator, at + length);
    }

    hiss(bus, type, frequency, length, loud, at) {
      const source = this.context.createBufferSource(), filter = this.context.createBiquadFilter();
      const gain = this.context.createGain();
      source.buffer = this.noise;
      source.loop = true;
      filter.type = type;
      filter.frequency.value = frequency;
      gain.gain.setValueAtTime(loud, at);
      gain.gain.exponentialRampToValueAtTime(0.001, at + length);
      source.connect(filter);
      filter.connect(gain);
      gain.connect(bus);
      source.start(at);
      this.keep(source, at + length);
    }
  }
  M.Synth = Synth;

  // Plays one piece at a time; its place is in ms of that piece.
  class Player {
    constructor() {
      this.listeners = new Set();
      this.at = 0;
      this.isPlaying = false;
      this.piece = null;
      this.loop = null;
    }
    onChange(listener) { this.listeners.add(listener); }
    changed() { this.listeners.forEach((listener) => listener()); }

    open() {
      if (!this.context) {
        this.context = new AudioContext();
        this.synth = new Synth(this.context);
        this.analyser = this.context.createAnalyser();
        this.synth.out.connect(this.analyser);
        this.analyser.connect(this.context.destination);
      }
      if (this.context.state === "suspended") this.context.resume();
    }
    // How loud it is now, 0..1.
    level() {
      if (!this.analyser) return 0;
      const samples = new Float32Array(this.analyser.fftSize);
      this.analyser.getFloatTimeDomainData(samples);
      return samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    }

    // ms of the piece that sound now.
    position() {
      if (!this.isPlaying) return this.at;
      const now = this.from + (this.context.currentTime - this.since) * 1000;
      return Math.max(this.from, now);
    }

    play(piece, from, options) {
      this.silence();
      this.open();
      this.piece = piece;
      this.loop = (options || {}).loop || null;
      this.only = (options || {}).notes || null;
      this.isPlaying = true;
      this.begin(from);
      this.timer = setInterval(() => this.tick(), TICK_MS);
      this.tick();
      this.changed();
    }
    begin(from) {
      const notes = this.only || this.piece.notes;
      this.bus = this.synth.bus();
      this.from = from;
      this.since = this.context.currentTime + 0.05;
      let low = 0, high = notes.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (notes[middle].start < from - 1) low = middle + 1;
        else high = middle;
      }
      this.next = low;
      this.hold(from);
    }
    // Notes that began before and still sound.
    hold(from) {
      const notes = this.only || this.piece.notes;
      for (let i = this.next - 1; i >= 0 && notes[i].start > from - 8000; i--)
        if (!notes[i].drum && notes[i].end > from + 80) this.sound({...notes[i], start: from});
    }
    sound(note) {
      const at = this.since + (note.start - this.from) / 1000;
      if (note.drum) this.synth.drum(this.bus, note.pitch, note.velocity, at);
      else this.synth.note(this.bus, this.piece.program(note.voice), note.pitch, note.velocity, at, (note.end - note.start) / 1000);
    }
    tick() {
      const notes = this.only || this.piece.notes;
      if (this.loop && this.position() >= this.loop[1]) {
        this.cut();
        this.begin(this.loop[0]);
      }
      const until = this.position() + AHEAD_S * 1000, stop = this.loop ? this.loop[1] : Infinity;
      for (; this.next < notes.length && notes[this.next].start < Math.min(until, stop); this.next++) this.sound(notes[this.next]);
      if (this.loop || this.next < notes.length) return;
      const last = notes.reduce((end, note) => Math.max(end, note.end), 0);
      if (this.position() > last + 400) this.pause();
    }
    // End what sounds, softly enough not to click.
    cut() {
      const bus = this.bus, now = this.context.currentTime;
      bus.gain.setTargetAtTime(0, now, 0.012);
      setTimeout(() => bus.disconnect(), 200);
    }
    silence() {
      if (!this.isPlaying) return;
      this.at = this.position();
      this.isPlaying = false;
      clearInterval(this.timer);
      this.cut();
    }
    pause() {
      this.silence();
      this.changed();
    }
    seek(ms) {
      this.at = Math.max(0, ms);
      if (this.isPlaying) this.play(this.piece, this.at, {loop: this.loop, notes: this.only});
      else this.changed();
    }
  }
  M.Player = Player;
})(midisim);
