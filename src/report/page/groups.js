"use strict";
// The view of groups: a section for each, its members side by side, and two of them compared on request.
(function (M) {
  const KINDS = {
    bytes: "the same bytes", notes: "the same notes in another file", key: "the same notes in another key or at another tempo",
    piece: "most notes agree", version: "a good part of the notes agrees", excerpt: "one is a part of the other",
    alike: "they sound alike",
  };

  const BADGES = {
    bytes: "same content", notes: "same notes", key: "other key or tempo", piece: "same piece", version: "version", alike: "alike",
  };
  function badge(member) {
    if (member.kind === "excerpt") return member.direction < 0 ? "a part" : "the whole";
    return BADGES[member.kind] || "member";
  }

  // Why a member is in the group, in words.
  function reason(member) {
    if (!member.kind) return "in the group by other members";
    const parts = [];
    if (member.kind === "excerpt") parts.push(member.direction < 0 ? "a part of the kept file" : "contains the kept file");
    else parts.push(KINDS[member.kind] || member.kind);
    if (member.n !== undefined) {
      const all = member.n === member.of && member.n === member.ofKept;
      parts.push(all ? `all ${M.count(member.n)} notes` : `${M.count(member.n)} of ${M.count(member.of)} notes`);
      if (member.by) parts.push(M.transposed(member.by));
      if (Math.abs(member.tempo - 1) >= 0.01) parts.push(M.paced(member.tempo));
    }
    if (member.score !== undefined) parts.push(`likeness ${M.percent(member.score)}`);
    return parts.join(", ");
  }

  M.GroupsView = class {
    constructor(report, player) {
      this.report = report;
      this.player = player;
      this.shown = 0;
      this.filter = "";
      this.list = M.el("div", {class: "group-list"});
      this.more = M.el("button", {type: "button", class: "more-groups", onclick: () => this.showMore()});
      this.input = M.el("input", {type: "search", id: "group-filter", placeholder: "name of a file",
        oninput: () => { this.filter = this.input.value.toLowerCase(); this.restart(); }});
      const spare = report.groups.reduce((sum, group) => sum + group.members.length - 1, 0);
      this.element = M.el("div", {class: "groups"},
        M.el("p", {class: "lead"}, `${M.many(report.groups.length, "group")} of files that are the same music. ` +
          `One file of each is kept; ${M.many(spare, "other")} could be left out.` +
          (report.moreGroups ? ` ${M.many(report.moreGroups, "more group")} are not in this report.` : "")),
        M.el("label", {class: "field"}, M.el("span", {}, "Filter"), this.input), this.list, this.more);
      player.onChange(() => this.follow());
      this.buttons = [];
      this.restart();
    }
    restart() {
      M.clear(this.list);
      this.buttons = [];
      this.shown = 0;
      this.found = this.report.groups.filter((group) =>
        group.members.some((member) => member.piece.name.toLowerCase().includes(this.filter)));
      this.showMore();
    }
    showMore() {
      const until = Math.min(this.shown + 20, this.found.length);
      for (; this.shown < until; this.shown++) this.list.append(this.section(this.found[this.shown]));
      const left = this.found.length - this.shown;
      this.more.hidden = left === 0;
      this.more.textContent = `Show more (${M.count(left)} left)`;
    }

    section(group) {
      const kept = group.members[0], place = M.el("div", {class: "compare"});
      return M.el("section", {class: "group", "aria-label": `Group ${group.number}`},
        M.el("h2", {}, M.leaf(kept.piece.name), M.el("span", {class: "dim"}, ` group ${group.number}, ${M.many(group.members.length, "file")}`)),
        M.el("div", {class: "members"}, group.members.map((member, i) => this.card(kept, member, i === 0, place))), place);
    }

    card(kept, member, isKept, place) {
      const piece = member.piece, link = member.link;
      const picture = new M.Overview(`The notes of ${M.leaf(piece.name)}`, (ms) => this.play(piece, ms));
      picture.show(piece, {link, isMatch: !isKept, isWhole: isKept});
      const button = M.el("button", {type: "button", class: "hear", disabled: !piece.hasNotes,
        "aria-label": `Play ${M.leaf(piece.name)}`, onclick: () => this.play(piece, 0)}, "▶ Play");
      this.buttons.push([button, piece]);
      return M.el("article", {class: `member ${isKept ? "kept" : ""}`},
        M.el("header", {}, M.el("span", {class: `badge ${isKept ? "good" : ""}`}, isKept ? "kept" : badge(member)),
          M.el("strong", {class: "name"}, M.leaf(piece.name)),
          M.folder(piece.name) ? M.el("span", {class: "folder"}, M.folder(piece.name)) : null),
        picture.element,
        M.el("p", {class: "why"}, isKept ? "This file is kept." : reason(member)),
        piece.hasNotes ? M.el("p", {class: "dim"}, `${M.time(piece.end)}, ${M.count(piece.stored.count)} notes`)
          : M.el("p", {class: "lacking"}, `No notes: ${M.shown(piece.lacks)}`),
        M.el("div", {class: "buttons"}, button,
          isKept || !link ? null : M.el("button", {type: "button", "aria-label": `Compare ${M.leaf(piece.name)} with the kept file`,
            onclick: () => this.compare(link, place)}, "Compare")));
    }

    play(piece, from) {
      if (this.player.isPlaying && this.player.piece === piece && from === 0) this.player.pause();
      else if (piece.hasNotes) this.player.play(piece, from);
    }
    compare(link, place) {
      if (!this.pair) this.pair = new M.PairView(this.player);
      M.clear(place, this.pair.element);
      this.pair.show(link);
      place.scrollIntoView({block: "nearest"});
    }
    follow() {
      for (const [button, piece] of this.buttons) {
        const says = this.player.isPlaying && this.player.piece === piece ? "❚❚ Pause" : "▶ Play";
        if (button.textContent !== says) button.textContent = says;
      }
    }
    key(event) { return this.pair && this.pair.element.isConnected ? this.pair.key(event) : false; }
    leave() { this.player.pause(); }
  };
})(midisim);
