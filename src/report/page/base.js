"use strict";
// What all files of the page share: elements, texts, numbers, stored bytes. Text of files reaches the page through
// textContent alone.
const midisim = {};

(function (M) {
  // el("button", {class: "x", onclick: f, "aria-label": "..."}, "text", child, ...)
  M.el = function (tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? "" : String(value));
    }
    for (const child of children.flat()) {
      if (child === null || child === undefined || child === "") continue;
      element.append(typeof child === "object" ? child : document.createTextNode(String(child)));
    }
    return element;
  };

  M.clear = function (element, ...children) {
    element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  };

  // Say a line to those who do not see the page.
  M.say = function (text) {
    const place = document.getElementById("say");
    if (place) place.textContent = text;
  };

  M.bytes = function (base64) {
    const text = atob(base64 || "");
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  };

  // ---- Texts ----

  // The name of a file without its folders, and the folders. Bytes that are no UTF-8 come as lone surrogates.
  M.shown = (name) => String(name).replace(/[\ud800-\udfff]/gu, "\ufffd").replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
  M.leaf = (name) => M.shown(name).replace(/^.*\/(?=[^/])/, "");
  M.folder = function (name) {
    const at = M.shown(name).lastIndexOf("/");
    return at > 0 ? M.shown(name).slice(0, at) : "";
  };

  // A name that may be broken behind its joints.
  M.breakable = function (name) {
    return name.split(/(?<=[_\-.])/).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
  };

  M.time = function (ms) {
    const seconds = Math.max(0, Math.round(ms / 1000));
    const h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60) % 60, s = seconds % 60;
    const tail = String(s).padStart(2, "0");
    return h ? `${h}:${String(m).padStart(2, "0")}:${tail}` : `${m}:${tail}`;
  };
  M.count = (n) => Number(n).toLocaleString("en-GB");
  M.many = (n, one, more) => `${M.count(n)} ${n === 1 ? one : more || one + "s"}`;
  M.percent = (x) => `${(100 * x).toFixed(1)} %`;

  // An amount that chance would give: 0.0002, 3e-12.
  M.chance = function (e) {
    if (e === null || e === undefined) return "";
    if (e <= 1e-300) return "next to nothing";
    if (e >= 0.001) return String(Number(e.toPrecision(2)));
    const power = Math.floor(Math.log10(e));
    return `${Number((e / 10 ** power).toPrecision(1))} × 10${superscript(power)}`;
  };
  function superscript(n) {
    const digits = {"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹"};
    return String(n).split("").map((c) => digits[c]).join("");
  }

  M.transposed = function (by) {
    if (!by) return "in the same key";
    const size = Math.abs(by), way = by > 0 ? "higher" : "lower";
    if (size % 12 === 0) return `${M.many(size / 12, "octave")} ${way}`;
    return `${M.many(size, "semitone")} ${way}`;
  };
  // tempo: seconds of the match for one of the query.
  M.paced = function (tempo) {
    if (!tempo || Math.abs(tempo - 1) < 0.01) return "at the same tempo";
    if (Math.abs(tempo - 0.5) < 0.005) return "at twice the tempo";
    if (Math.abs(tempo - 2) < 0.02) return "at half the tempo";
    const change = tempo > 1 ? Math.round(100 - 100 / tempo) : Math.round(100 / tempo - 100);
    if (change >= 40) return `at ${(1 / tempo).toFixed(2)} times the tempo`;
    return `${change} % ${tempo > 1 ? "slower" : "faster"}`;
  };

  // The bytes of a name: a lone \udcXX is byte XX, which was no UTF-8.
  M.encode = function (name) {
    const parts = name.split(/([\udc80-\udcff])/u), encoder = new TextEncoder();
    return parts.flatMap((part, i) => (i % 2 ? [part.charCodeAt(0) & 255] : [...encoder.encode(part)]));
  };

  // A list of names as a file: one per line, as --files-from and --exclude-from read it. A name of two lines is in no list.
  M.download = function (file, names) {
    const bytes = names.filter((name) => !name.includes("\n")).flatMap((name) => [...M.encode(name), 10]);
    const url = URL.createObjectURL(new Blob([new Uint8Array(bytes)], {type: "text/tab-separated-values"}));
    const link = M.el("a", {href: url, download: file});
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  // ---- Colours, which follow the theme ----

  M.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const listeners = [];
  M.onTheme = (listener) => listeners.push(listener);
  M.themed = () => listeners.forEach((listener) => listener());
})(midisim);
