"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);

  // Completions are untrusted: their text only ever becomes text nodes, never markup, and what could turn the
  // direction of the page or hide in it is shown by its code point.
  const HIDDEN = /[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g;
  const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
  const show = (text) => text
    .replace(HIDDEN, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`)
    .replace(CONTROL, (c) => (c === "\u007f" ? "␡" : String.fromCodePoint(0x2400 + c.codePointAt(0))));
  const brief = (text, most) => (text.length > most ? text.slice(0, most) + "…" : text);
  const quoted = (text) =>
    text === "" ? "(part of a character)" : show(brief(text, 80)).replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣");
  const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const unpack = async () => {
    const bytes = Uint8Array.from(atob($("traces").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  const data = await unpack();
  const { vocabulary, prompts, completions } = data;
  const most = Math.max(2, data.most);

  for (const completion of completions) {
    const { counts } = completion;
    completion.starts = [];
    let at = 0;
    for (const count of counts) { completion.starts.push(at); at += count; }
    const mixed = completion.effective.filter((_, i) => completion.kinds[i] === "m" || completion.kinds[i] === "t");
    completion.spread = mixed.length ? mixed.reduce((a, b) => a + b, 0) / mixed.length / 100 : 0;
    completion.thinking = mixed.length;
    completion.words = (prompts[completion.prompt] + "\n" + completion.tokens.map((t) => vocabulary[t]).join("")).toLowerCase();
  }

  // ---- what is shown -------------------------------------------------------------------------------------------
  const state = { shown: [], panes: [null], active: 0 };
  const LIMIT = 400;
  let limit = LIMIT;

  const option = (value, text) => { const node = make("option", "", text); node.value = value; return node; };
  const unique = (values) => [...new Set(values)];
  const fill = (id, all, values, label = String) => {
    $(id).append(...(all ? [option("", all)] : []), ...values.map((value) => option(String(value), label(value))));
  };
  fill("split", "all", unique(completions.map((c) => c.split)));
  fill("step", "all", unique(completions.map((c) => c.step)).sort((a, b) => a - b));
  fill("prompt", "all", unique(completions.map((c) => c.prompt)), (index) => brief(heading(index), 90));
  fill("reward", null, ["reward", "advantage", ...unique(completions.flatMap((c) => Object.keys(c.rewards)))]);

  // The words of a prompt that tell it from others: what the user says, not the template around it.
  function heading(index) {
    const text = show(prompts[index]).replace(/\s+/g, " ").trim();
    const user = text.match(/(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>)user(?:<\|end_header_id\|>)?\s*(.*?)(?:<\||<end_of_turn>|$)/);
    return user && user[1] ? user[1] : text;
  }
  const worth = (completion, name) =>
    name === "reward" || name === "advantage" ? completion[name] : completion.rewards[name] ?? null;

  const ORDERS = {
    step: (a, b) => a.step - b.step || (a.split < b.split) - (a.split > b.split) || a.sample - b.sample,
    reward: (a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity),
    spread: (a, b) => b.spread - a.spread,
    length: (a, b) => b.thinking - a.thinking,
  };

  const filter = () => {
    const value = (id) => $(id).value;
    const least = value("least") === "" ? -Infinity : Number(value("least"));
    const greatest = value("greatest") === "" ? Infinity : Number(value("greatest"));
    const bounded = least !== -Infinity || greatest !== Infinity;
    const words = value("text").toLowerCase();
    state.shown = completions.filter((c) => {
      const amount = worth(c, value("reward"));
      return (!value("split") || c.split === value("split")) && (!value("step") || c.step === Number(value("step")))
        && (!value("prompt") || c.prompt === Number(value("prompt")))
        && (!bounded || (amount !== null && amount >= least && amount <= greatest))
        && (!words || c.words.includes(words));
    }).sort(ORDERS[value("sort")]);
    limit = LIMIT;
    list();
  };

  const sparkline = (completion) => {
    const bins = 48, { effective, kinds } = completion;
    const heights = [];
    for (let bin = 0; bin < bins; bin++) {
      const from = Math.floor((bin * effective.length) / bins), to = Math.max(from + 1, Math.floor(((bin + 1) * effective.length) / bins));
      let sum = 0;
      for (let i = from; i < to && i < effective.length; i++) sum += kinds[i] === "m" ? spread(effective[i]) : 0;
      heights.push(sum / (to - from));
    }
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${bins} 20`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M0 20${heights.map((h, i) => `V${(20 - 19 * h).toFixed(1)}H${i + 1}`).join("")}V20Z`);
    svg.append(path);
    return svg;
  };
  // 0 for one token, 1 for the widest mixture of the page.
  const spread = (effective) => Math.min(1, Math.log(Math.max(1, effective / 100)) / Math.log(most));
  const signed = (value) => (value === null ? "–" : (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2));

  const list = () => {
    const cards = state.shown.slice(0, limit).map((completion) => {
      const item = make("li"), card = make("button", "card"), top = make("span", "top");
      card.type = "button";
      card.dataset.index = completion.index;
      top.append(make("b", "", `Step ${completion.step}${completion.split === "eval" ? " eval" : ""}`));
      const advantage = make("span", completion.advantage >= 0 ? "up" : "down", signed(completion.advantage));
      const amounts = make("span", "", `reward ${number(completion.reward)} `);
      amounts.append(advantage);
      top.append(amounts);
      card.append(top, make("span", "what", brief(heading(completion.prompt), 120)), sparkline(completion));
      const beside = make("button", "beside", "Beside");
      beside.type = "button";
      beside.title = "Open on the other side";
      beside.dataset.beside = completion.index;
      item.append(card, beside);
      return item;
    });
    if (state.shown.length > limit) {
      const more = make("button", "more", `Show ${state.shown.length - limit} more`);
      more.type = "button";
      more.addEventListener("click", () => { limit = Infinity; list(); });
      const item = make("li");
      item.append(more);
      cards.push(item);
    }
    $("list").replaceChildren(...cards);
    $("none").hidden = state.shown.length > 0;
    $("count").textContent = `${state.shown.length} of ${completions.length} completions`;
    mark();
  };
  const mark = () => {
    for (const card of $("list").querySelectorAll(".card")) {
      if (state.panes.includes(Number(card.dataset.index))) card.setAttribute("aria-current", "true");
      else card.removeAttribute("aria-current");
    }
  };

  // ---- a completion as text ------------------------------------------------------------------------------------
  const CAUSES = {
    stop_text: "thinking closed by its tag", budget: "thinking closed: budget spent", cold_stop: "thinking closed: low entropy",
    start_text: "thinking begins", end: "thinking ends", start: "", call: "results of tools",
  };
  const boundary = ([position, phase, cause], turn) => {
    const what = cause === "turn" ? `turn ${turn} begins` : phase === "thinking" ? CAUSES.start_text : phase === "answering" && cause !== "stop_text" && cause !== "end"
      ? "answer begins" : CAUSES[cause] ?? `thinking closed by ${cause}`;
    const line = make("span", "phase", `${what} · token ${position}`);
    line.setAttribute("role", "separator");
    line.dataset.phase = phase;
    return line;
  };

  const render = (side) => {
    const pane = make("section", "pane"), completion = completions[state.panes[side]];
    pane.dataset.side = side;
    pane.setAttribute("aria-label", side ? "Second completion" : "Completion");
    if (!completion) {
      pane.append(make("p", "facts", "Choose a completion from the list."));
      return pane;
    }
    const heads = make("h2", "title", `Step ${completion.step} ${completion.split} · group ${completion.group} · completion ${completion.sample}`);
    const facts = make("div", "facts");
    const fact = (name, value) => { const node = make("span", "", `${name} `); node.append(make("b", "", value)); facts.append(node); };
    fact("reward", number(completion.reward));
    fact("advantage", signed(completion.advantage));
    for (const [name, value] of Object.entries(completion.rewards)) fact(show(name), number(value));
    fact("thinking", `${completion.thinking} of ${completion.tokens.length} tokens`);
    fact("effective candidates", number(completion.spread));
    if (completion.turns > 1) fact("turns", String(completion.turns));
    fact("closed by", completion.closed_by ?? "nothing");
    if (completion.truncated) fact("cut", "at the length limit");
    const prompt = make("details"), summary = make("summary", "", "Prompt: " + brief(heading(completion.prompt), 100));
    prompt.append(summary, make("pre", "", show(prompts[completion.prompt])));
    const strip = make("canvas", "strip");
    strip.setAttribute("aria-hidden", "true");
    const text = make("div", "text");
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", "Tokens of the completion");
    const starts = new Map(completion.phases.filter(([position]) => position > 0).map((phase) => [phase[0], phase]));
    let turn = 1;
    completion.tokens.forEach((token, i) => {
      if (starts.has(i)) text.append(boundary(starts.get(i), starts.get(i)[2] === "turn" ? ++turn : turn));
      const word = vocabulary[token], kind = completion.kinds[i];
      const node = make("span", "t", show(word));
      if (kind === "m") {
        node.classList.add("m");
        node.style.setProperty("--spread", spread(completion.effective[i]).toFixed(3));
      }
      if (kind === "f" || kind === "w" || kind === "r") node.classList.add(kind);
      if (completion.counts[i] && completion.visible[i] !== 0) node.classList.add("d");
      if (word.includes("\n")) node.classList.add("nl");
      if (word === "") node.classList.add("cut");
      node.dataset.i = i;
      node.tabIndex = i === 0 ? 0 : -1;
      text.append(node);
    });
    pane.append(heads, facts, prompt, strip, text);
    return pane;
  };

  const draw = (pane) => {
    const completion = completions[state.panes[Number(pane.dataset.side)]], strip = pane.querySelector(".strip");
    if (!completion || !strip) return;
    const ratio = window.devicePixelRatio || 1, width = strip.clientWidth, height = strip.clientHeight;
    strip.width = width * ratio;
    strip.height = height * ratio;
    const brush = strip.getContext("2d"), styles = getComputedStyle(document.documentElement);
    brush.scale(ratio, ratio);
    const step = width / completion.tokens.length;
    completion.tokens.forEach((_, i) => {
      const kind = completion.kinds[i], tall = kind === "m" ? 2 + (height - 4) * spread(completion.effective[i]) : 2;
      brush.fillStyle = styles.getPropertyValue(kind === "m" ? "--mix" : kind === "f" ? "--forced" : "--line");
      brush.fillRect(i * step, height - tall, Math.max(step - (step > 3 ? 1 : 0), 0.5), tall);
    });
    brush.fillStyle = styles.getPropertyValue("--accent");
    for (const [position] of completion.phases) if (position > 0) brush.fillRect(position * step - 0.75, 0, 1.5, height);
  };

  const panes = () => {
    hide();
    const nodes = state.panes.map((_, side) => render(side));
    $("panes").replaceChildren(...nodes);
    $("panes").classList.toggle("two", nodes.length === 2);
    $("compare").setAttribute("aria-pressed", String(nodes.length === 2));
    nodes.forEach(draw);
    activate(state.active);
    mark();
  };
  const activate = (side) => {
    state.active = Math.min(side, state.panes.length - 1);
    for (const pane of $("panes").children) pane.classList.toggle("active", Number(pane.dataset.side) === state.active);
  };
  const open = (index, side = state.active) => {
    while (state.panes.length <= side) state.panes.push(null);
    state.panes[side] = index;
    state.active = side;
    panes();
    const card = $("list").querySelector(`.card[data-index="${index}"]`);
    if (card) card.scrollIntoView({ block: "nearest" });
  };
  const compare = () => {
    if (state.panes.length === 2) state.panes = [state.panes[state.active]];
    else {
      const own = completions[state.panes[0]];
      const other = own && (sibling(own, 1) ?? completions.find((c) => c.prompt === own.prompt && c !== own));
      state.panes.push(other ? other.index : null);
      state.active = 1;
    }
    state.active = Math.min(state.active, state.panes.length - 1);
    panes();
  };

  // ---- candidates of a token -----------------------------------------------------------------------------------
  let focused = null;
  const tip = $("tip");
  const hide = () => {
    tip.hidden = true;
    if (focused) { focused.classList.remove("on"); focused.removeAttribute("aria-describedby"); }
    focused = null;
  };
  const KINDS = { w: "before the thinking", f: "inserted to close the thinking, not drawn", a: "an ordinary token of the answer", r: "of a tool's result, not the model's own" };
  const showCandidates = (node) => {
    hide();
    focused = node;
    node.classList.add("on");
    node.setAttribute("aria-describedby", "tip");
    const completion = completions[state.panes[Number(node.closest(".pane").dataset.side)]], i = Number(node.dataset.i);
    const head = make("h3");
    head.append(make("span", "", `token ${i}`), make("span", "", KINDS[completion.kinds[i]] ?? `${number(completion.effective[i] / 100)} effective candidates`));
    const rows = make("ol"), start = completion.starts[i], count = completion.counts[i];
    const row = (label, weight, visible) => {
      const item = make("li", visible ? "v" : ""), bar = make("span", "bar"), inner = make("i");
      inner.style.width = `${Math.min(100, weight / 100)}%`;
      bar.append(inner);
      item.append(make("code", "", label), bar, make("span", "num", weight < 10 ? "<0.1%" : `${(weight / 100).toFixed(weight < 1000 ? 1 : 0)}%`));
      rows.append(item);
    };
    for (let rank = 0; rank < count; rank++) {
      row(quoted(vocabulary[completion.candidates[start + rank]]), completion.weights[start + rank], rank === completion.visible[i]);
    }
    if (!count) rows.append(Object.assign(make("li", "v"), {})), rows.lastChild.append(make("code", "", quoted(vocabulary[completion.tokens[i]])));
    if (completion.rest[i]) row(`${completion.rest[i][0]} more`, completion.rest[i][1], false);
    const facts = [];
    if (!"fr".includes(completion.kinds[i])) facts.push(`log-prob ${number(completion.logps[i] === null ? null : completion.logps[i] / 1000)}`);
    if (completion.entropies[i] !== null) facts.push(`entropy ${number(completion.entropies[i] / 1000)} nats`);
    if (count && completion.visible[i] !== 0) facts.push("the visible token is not the heaviest");
    tip.replaceChildren(head, rows, make("p", "", facts.join(" · ")));
    tip.hidden = false;
    const box = node.getClientRects()[0] ?? node.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(box.left, innerWidth - own.width - 8));
    const below = box.bottom + 8 + own.height < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - own.height - 8)}px`;
  };
  const token = (event) => (event.target instanceof Element ? event.target.closest(".t") : null);
  const visit = (node) => {
    if (!node) return;
    for (const old of node.parentElement.querySelectorAll('.t[tabindex="0"]')) old.tabIndex = -1;
    node.tabIndex = 0;
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "nearest" });
    showCandidates(node);
  };

  // ---- moving around -------------------------------------------------------------------------------------------
  const sibling = (own, by) => {
    const group = completions.filter((c) => c.step === own.step && c.split === own.split && c.group === own.group);
    return group.length > 1 ? group[(group.indexOf(own) + by + group.length) % group.length] : null;
  };
  const otherStep = (own, by) => {
    const steps = completions.filter((c) => c.prompt === own.prompt && c.split === own.split && (c.step - own.step) * by > 0);
    return steps.sort((a, b) => (a.step - b.step) * by || a.sample - b.sample)[0];
  };
  const line = (node, by) => {
    const top = node.offsetTop, left = node.offsetLeft;
    let best = null;
    for (let other = node; (other = by > 0 ? other.nextElementSibling : other.previousElementSibling);) {
      if (!other.classList.contains("t") || (by > 0 ? other.offsetTop <= top + 4 : other.offsetTop >= top - 4)) continue;
      if (best && Math.abs(other.offsetTop - best.offsetTop) > 4) break;
      if (!best || Math.abs(other.offsetLeft - left) < Math.abs(best.offsetLeft - left)) best = other;
    }
    return best;
  };
  const walk = (node, key) => {
    const tokens = [...node.parentElement.querySelectorAll(".t")], at = Number(node.dataset.i);
    const completion = completions[state.panes[Number(node.closest(".pane").dataset.side)]];
    const wide = (other) => completion.kinds[other.dataset.i] === "m" && completion.effective[other.dataset.i] >= 150;
    switch (key) {
      case "ArrowRight": return tokens[at + 1];
      case "ArrowLeft": return tokens[at - 1];
      case "ArrowDown": return line(node, 1);
      case "ArrowUp": return line(node, -1);
      case "Home": return tokens[0];
      case "End": return tokens[tokens.length - 1];
      case "n": return tokens.slice(at + 1).find(wide);
      case "p": return tokens.slice(0, at).reverse().find(wide);
      default: return undefined;
    }
  };
  const WALKS = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End", "n", "p"];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { hide(); if (event.target === $("text")) $("text").blur(); return; }
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
    const node = token(event) ?? (["n", "p"].includes(event.key) ? $("panes").children[state.active].querySelector('.t[tabindex="0"]') : null);
    if (node && WALKS.includes(event.key)) { event.preventDefault(); visit(walk(node, event.key)); return; }
    const own = completions[state.panes[state.active]];
    const go = (completion) => { if (completion) open(completion.index); };
    const along = (by) => go(state.shown[Math.min(Math.max(state.shown.indexOf(own) + by, 0), state.shown.length - 1)]);
    const actions = {
      j: () => along(1), k: () => along(-1), g: () => own && go(sibling(own, 1)),
      "[": () => own && go(otherStep(own, -1)), "]": () => own && go(otherStep(own, 1)),
      c: compare, x: () => activate(state.panes.length - 1 - state.active), "/": () => $("text").focus(), "?": help,
    };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  });
  const help = () => {
    $("help").hidden = !$("help").hidden;
    $("keys").setAttribute("aria-expanded", String(!$("help").hidden));
  };
  // Text that scrolls under a resting pointer is not pointed at.
  let pointer = "";
  $("panes").addEventListener("pointerover", (event) => {
    const place = `${event.clientX} ${event.clientY}`;
    if (place === pointer) return;
    pointer = place;
    const node = token(event);
    if (node) showCandidates(node);
    else if (!(document.activeElement && document.activeElement.classList.contains("t"))) hide();
  });
  $("panes").addEventListener("pointermove", (event) => { pointer = `${event.clientX} ${event.clientY}`; });
  $("panes").addEventListener("pointerleave", hide);
  $("panes").addEventListener("focusin", (event) => { const node = token(event); if (node && node !== focused) showCandidates(node); });
  $("panes").addEventListener("focusout", (event) => { if (token(event)) hide(); });
  $("panes").addEventListener("scroll", () => {
    if (document.activeElement.classList.contains("t")) showCandidates(document.activeElement);
    else hide();
  }, true);
  $("panes").addEventListener("click", (event) => {
    const pane = event.target.closest(".pane");
    if (!pane) return;
    activate(Number(pane.dataset.side));
    if (token(event)) visit(token(event));
    if (event.target.classList.contains("strip")) {
      const nodes = pane.querySelectorAll(".t"), box = event.target.getBoundingClientRect();
      const at = Math.min(nodes.length - 1, Math.floor(((event.clientX - box.left) / box.width) * nodes.length));
      nodes[at].scrollIntoView({ block: "center" });
      visit(nodes[at]);
    }
  });
  $("list").addEventListener("click", (event) => {
    const beside = event.target.closest("[data-beside]"), card = event.target.closest(".card");
    if (beside) open(Number(beside.dataset.beside), state.panes.length === 2 ? 1 - state.active : 1);
    else if (card) open(Number(card.dataset.index));
  });
  $("compare").addEventListener("click", compare);
  $("keys").addEventListener("click", help);
  const paint = (theme) => { document.documentElement.dataset.theme = theme; [...$("panes").children].forEach(draw); };
  $("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => paint(dark.matches ? "dark" : "light"));
  addEventListener("resize", () => { hide(); [...$("panes").children].forEach(draw); });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const change of ["input", "change"]) $("filters").addEventListener(change, filter);
  $("filters").addEventListener("reset", () => setTimeout(filter));

  document.title = `${show(data.run)} · mixtures`;
  $("run").textContent = show(data.run);
  $("about").textContent = show(data.about);
  $("most").textContent = number(most, 1).replace(/\.0$/, "");
  paint(dark.matches ? "dark" : "light");
  filter();
  if (state.shown.length) open(state.shown[0].index, 0);
  document.documentElement.dataset.ready = "true";
})();
