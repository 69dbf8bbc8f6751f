"use strict";
// Text of rows goes into the page by textContent alone.
const known = new Map();
const content = (id) => {
  if (!known.has(id)) known.set(id, JSON.parse(document.getElementById(`data-${id}`).textContent));
  return known.get(id);
};
const made = (tag, text, classes) => {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (classes) element.className = classes;
  return element;
};
const unpacked = (packed) => {
  const raw = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
  return new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[packed.bytes](raw.buffer);
};
const read = (value) => {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 10000) return Math.round(value).toLocaleString("en");
  const at = Math.abs(value);
  return at !== 0 && at < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(4)));
};
const figure = (element, value) => {
  element.textContent = read(value);
  if (value !== null && value !== undefined) element.dataset.value = String(value);
  return element;
};

function themes() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const say = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  say();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    say();
    dispatchEvent(new Event("themed"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    say();
    dispatchEvent(new Event("themed"));
  });
}

// A table in the page is sorted by what its cells say; a number by its data-value.
function sortable(table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  if (body.rows.length < 3) return;
  const key = (row, at) => {
    const cell = row.cells[at], number = cell.querySelector("[data-value]");
    return number ? Number(number.dataset.value) : cell.textContent.trim() === "–" ? null : cell.textContent;
  };
  heads.forEach((head, at) => {
    if (!head.textContent.trim() || body.rows[0].cells[at].querySelector("svg")) return;
    heading(head, (down) => {
      const rows = [...body.rows].map((row) => [key(row, at), row]);
      rows.sort((a, b) => ordered(a[0], b[0], down));
      body.append(...rows.map((row) => row[1]));
    }, heads);
  });
}

function heading(head, sort, heads) {
  const button = made("button", head.textContent);
  button.type = "button";
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    sort(down);
  });
}

function ordered(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null); // what is unknown stays last
  const less = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  return down ? -less : less;
}

function listing(place) {
  const data = content(place.dataset.block), size = 20;
  const search = place.querySelector("input"), count = place.querySelector("[role=status]");
  const pages = place.querySelector(".pages"), box = place.querySelector(".scroll");
  const table = made("table"), body = made("tbody"), heads = made("tr");
  table.append(made("caption", place.dataset.caption), made("thead"), body);
  table.tHead.append(heads);
  box.append(table);
  const hay = data.rows.map((row) => row.flat().filter((v) => typeof v === "string").join("\n").toLowerCase());
  let shown = data.rows.map((_, at) => at), first = 0;
  data.columns.forEach((column, at) => {
    const head = made("th", column.label);
    head.scope = "col";
    if (column.kind === "number" || column.kind === "row") head.className = "num";
    heads.append(head);
    if (column.kind !== "text") heading(head, (down) => {
      data.rows.map((row, i) => [row[at], i]).sort((a, b) => ordered(a[0], b[0], down))
        .forEach(([, i], place) => { rank[i] = place; });
      find();
    }, [...heads.cells]);
  });
  const rank = data.rows.map((_, at) => at);
  [...heads.cells].forEach((head, at) => head.querySelector("button")?.addEventListener("click",
    () => [...heads.cells].forEach((other, i) => { if (i !== at) other.removeAttribute("aria-sort"); })));
  if (data.sorted !== undefined) heads.cells[data.sorted].setAttribute("aria-sort", data.down ? "descending" : "ascending");

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = data.rows.map((_, at) => at).filter((at) => words.every((word) => hay[at].includes(word)));
    shown.sort((a, b) => rank[a] - rank[b]);
    first = 0;
    draw();
  }
  function draw() {
    body.replaceChildren(...shown.slice(first, first + size).map((at) => listed(data, data.rows[at])));
    count.textContent = `${shown.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} rows`;
    const [back, said, on] = pages.children;
    pages.hidden = shown.length <= size;
    back.disabled = first === 0;
    on.disabled = first + size >= shown.length;
    said.textContent = `${(first + 1).toLocaleString("en")} to ${Math.min(first + size, shown.length).toLocaleString("en")}`;
    clamp(body);
  }
  const turn = (by) => { first += by; draw(); place.scrollIntoView({ block: "start" }); };
  pages.children[0].addEventListener("click", () => turn(-size));
  pages.children[2].addEventListener("click", () => turn(size));
  search.addEventListener("input", find);
  search.parentElement.hidden = false;
  draw();
}

function listed(data, row) {
  const line = made("tr");
  row.forEach((value, at) => {
    const { kind } = data.columns[at], cell = made(at === 0 ? "th" : "td");
    if (at === 0) cell.scope = "row";
    if (kind === "number") {
      cell.classList.add("num");
      cell.append(figure(made("span"), value));
    } else if (kind === "row") {
      cell.classList.add("num");
      cell.append(...jump(value));
    } else if (kind === "text") {
      cell.className = "text";
      cell.dir = "auto";
      const [asked, answer] = value;
      const both = made("div", null, "short");
      both.append(made("p", asked ?? "–", asked === null ? "none" : ""));
      if (answer) both.append(made("p", answer, "answer"));
      cell.append(both);
    } else {
      cell.className = "word";
      cell.dir = "auto";
      cell.textContent = value ?? "–";
    }
    line.append(cell);
  });
  return line;
}

// A row's position; where there is a map, a button that goes to it.
function jump(position) {
  const number = figure(made("span"), position);
  if (position === null || !atlas.show) return [number];
  const button = made("button", null, "go");
  button.type = "button";
  button.append(number);
  button.title = "show on the map";
  button.setAttribute("aria-label", `row ${position}: show on the map`);
  button.addEventListener("click", () => atlas.show(position));
  return [button];
}

function clamp(body) {
  for (const both of body.querySelectorAll(".short")) {
    if (both.scrollHeight <= both.clientHeight + 2) continue;
    const button = made("button", "more");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const open = both.classList.toggle("short");
      button.textContent = open ? "more" : "less";
      button.setAttribute("aria-expanded", String(!open));
    });
    both.after(button);
  }
}

const atlas = {};
function map(place) {
  const data = content(place.dataset.block), none = 65535;
  const xy = unpacked(data.places), tokens = unpacked(data.tokens), nearest = unpacked(data.nearest);
  const source = data.source && unpacked(data.source);
  // Of a large pool not every row has a point: which row a point is, and which point a row has.
  const rows = data.rows && unpacked(data.rows), row_of = (i) => (rows ? rows[i] : i);
  const places = rows && new Map(Array.from(rows, (row, i) => [row, i]));
  const picks = data.picks, order = new Map(picks.map((position, i) => [position, i]));
  const texts = new Map();
  for (const name of data.listed) {
    const { columns, rows } = content(name);
    const at = columns.findIndex((c) => c.kind === "row"), said = columns.findIndex((c) => c.kind === "text");
    const id = columns.findIndex((c) => c.label === "id"), why = columns.findIndex((c) => c.label === "why");
    for (const row of rows) texts.set(row[at], { id: row[id], text: row[said], why: why < 0 ? null : row[why] });
  }
  const canvas = place.querySelector("canvas"), told = place.querySelector(".told"), pen = canvas.getContext("2d");
  const slider = place.querySelector("input"), until = () => (slider ? Number(slider.value) : Infinity);
  const ground = document.createElement("canvas"), edge = 10;
  let wide = 0, high = 0, ratio = 1, cursor = null, looked = -1, announced = 0;
  const grid = new Map(), cells = 64;
  for (let i = 0; i < xy.length / 2; i++) {
    if (xy[2 * i] === none) continue;
    const key = (xy[2 * i] >> 10) * cells + (xy[2 * i + 1] >> 10);
    if (!grid.has(key)) grid.set(key, []);
    grid.get(key).push(i);
  }
  const span = Math.max(1, data.wide), tall = Math.max(1, data.high);
  const unit = () => Math.min((wide - 2 * edge) / span, (high - 2 * edge) / tall);
  const x = (i) => wide / 2 + (xy[2 * i] - span / 2) * unit();
  const y = (i) => high / 2 - (xy[2 * i + 1] - tall / 2) * unit();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function size() {
    ratio = devicePixelRatio || 1;
    wide = canvas.clientWidth;
    high = Math.round(Math.min(620, Math.max(260, Math.min(0.75, Math.max(0.45, tall / span)) * wide)));
    canvas.style.height = `${high}px`;
    for (const each of [canvas, ground]) {
      each.width = Math.round(wide * ratio);
      each.height = Math.round(high * ratio);
    }
    paint();
  }
  function paint() {
    const brush = ground.getContext("2d"), last = until();
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, wide, high);
    const many = xy.length / 2 > 5000;
    brush.fillStyle = colour("--pool");
    brush.globalAlpha = many ? 0.45 : 0.75;
    const dot = many ? 1.6 : 3;
    for (let i = 0; i < xy.length / 2; i++) {
      if (xy[2 * i] !== none) brush.fillRect(x(i) - dot / 2, y(i) - dot / 2, dot, dot);
    }
    brush.globalAlpha = 1;
    const r = picks.length > 1500 ? 2.4 : picks.length > 300 ? 3.2 : 4.2;
    picks.forEach((position, i) => {
      const round = data.rounds ? data.rounds[i] : 0;
      if (xy[2 * position] === none || round > last) return;
      diamond(brush, x(position), y(position), r, colours.chosen);
      if (slider && round === last) ring(brush, x(position), y(position), r + 2.5, colours.now);
    });
    over();
  }
  function over() {
    if (!ground.width) return;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(ground, 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (looked < 0) return;
    ring(pen, x(looked), y(looked), 9, colours.ink);
    const near = order.has(looked) ? -1 : near_of(looked);
    if (near >= 0 && xy[2 * near] !== none) {
      pen.beginPath();
      pen.setLineDash([4, 3]);
      pen.moveTo(x(looked), y(looked));
      pen.lineTo(x(near), y(near));
      pen.stroke();
      pen.setLineDash([]);
    }
  }
  const near_of = (i) => (nearest[i] ? picks[nearest[i] - 1] : -1);
  const colours = {};
  const tint = () => Object.assign(colours, { chosen: colour("--chosen"), now: colour("--now"), ink: colour("--ink"), paper: colour("--paper") });

  function diamond(brush, at, to, r, fill) {
    brush.beginPath();
    brush.moveTo(at, to - r);
    brush.lineTo(at + r, to);
    brush.lineTo(at, to + r);
    brush.lineTo(at - r, to);
    brush.closePath();
    brush.fillStyle = fill;
    brush.fill();
    brush.lineWidth = 0.8;
    brush.strokeStyle = colours.paper;
    brush.stroke();
  }
  function ring(brush, at, to, r, stroke) {
    brush.beginPath();
    brush.arc(at, to, r, 0, 7);
    brush.lineWidth = 2;
    brush.strokeStyle = stroke;
    brush.stroke();
  }
  function closest(px, py, most) {
    const at = (px - wide / 2) / unit() + span / 2, to = (high / 2 - py) / unit() + tall / 2;
    const reach = Math.max(1, Math.ceil(most / unit() / 1024));
    let best = -1, least = (most / unit()) ** 2;
    for (let a = (at >> 10) - reach; a <= (at >> 10) + reach; a++) for (let b = (to >> 10) - reach; b <= (to >> 10) + reach; b++) {
      for (const i of a < 0 || b < 0 || b >= cells ? [] : grid.get(a * cells + b) ?? []) {
        const far = (xy[2 * i] - at) ** 2 + (xy[2 * i + 1] - to) ** 2;
        const taken = order.has(i) ? 0.5 : 1; // of points on one spot, the chosen one
        if (far * taken < least) [best, least] = [i, far * taken];
      }
    }
    return best;
  }
  function name_of(i) {
    return texts.get(row_of(i))?.id ?? (data.ids ? data.ids[i] : null);
  }
  function look(i, at_once) {
    if (i === looked) return;
    looked = i;
    over();
    clearTimeout(announced);
    announced = setTimeout(() => tell(i), at_once ? 0 : 60);
  }
  function tell(i) {
    if (i < 0) { told.textContent = "No point is looked at."; return; }
    const first = made("p"), add = (word, value) => {
      first.append(first.childNodes.length ? ", " : "", word);
      if (value !== undefined) first.append(" ", figure(made("span"), value));
    };
    add("row", row_of(i));
    const id = name_of(i), about = texts.get(row_of(i));
    if (id !== null) { first.append(", id "); first.append(made("bdi", id)); }
    if (source) { first.append(", source "); first.append(made("bdi", data.sources[source[i]])); }
    add("tokens", tokens[i]);
    if (order.has(i)) add("chosen as number", order.get(i) + 1);
    else if (near_of(i) >= 0) add("not chosen; its nearest pick is row", row_of(near_of(i)));
    else add("not chosen");
    told.replaceChildren(first);
    if (about?.text?.[0]) told.append(said("p", about.text[0]));
    if (about?.why) told.append(said("p", about.why));
  }
  const said = (tag, text) => { const p = made(tag, text); p.dir = "auto"; return p; };

  canvas.addEventListener("pointermove", (event) => look(closest(event.offsetX, event.offsetY, 40), false));
  canvas.addEventListener("pointerdown", (event) => look(closest(event.offsetX, event.offsetY, 60), true));
  canvas.addEventListener("keydown", (event) => {
    const step = (event.shiftKey ? 60 : 12), moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const turn = { n: 1, N: 1, p: -1, P: -1 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) {
      cursor = cursor ?? [wide / 2, high / 2];
      cursor = [Math.min(wide, Math.max(0, cursor[0] + step * moves[event.key][0])), Math.min(high, Math.max(0, cursor[1] + step * moves[event.key][1]))];
      look(closest(cursor[0], cursor[1], Math.hypot(wide, high)), false);
    } else if (turn && picks.length) {
      const here = order.has(looked) ? order.get(looked) + turn : turn > 0 ? 0 : picks.length - 1;
      go(picks[(here + picks.length) % picks.length]);
    } else if (event.key === "Escape") {
      look(-1, true);
    } else return;
    event.preventDefault();
  });
  const go = (i) => {
    if (xy[2 * i] !== none) cursor = [x(i), y(i)];
    if (xy[2 * i] === none) { tell(i); return; }
    look(i, true);
  };
  atlas.show = (row) => {
    canvas.scrollIntoView({ block: "center" });
    canvas.focus({ preventScroll: true });
    go(places ? places.get(row) : row);
  };
  if (slider) {
    const count = () => {
      const rows = data.rounds.filter((round) => round <= until()).length;
      place.querySelector("output").textContent = `${slider.value}: ${rows.toLocaleString("en")} chosen`;
    };
    slider.addEventListener("input", () => { count(); paint(); });
    count();
  }
  addEventListener("themed", () => { tint(); paint(); });
  tint();
  new ResizeObserver(() => { if (canvas.clientWidth !== wide) size(); }).observe(canvas);
  size();
}

themes();
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".map").forEach(map);
document.querySelectorAll(".listing").forEach(listing);
// A box that does not scroll is no stop for the tab key.
const boxes = new ResizeObserver((seen) => {
  for (const { target } of seen) {
    const held = target.scrollWidth > target.clientWidth + 1 || target.scrollHeight > target.clientHeight + 1;
    held ? target.setAttribute("tabindex", "0") : target.removeAttribute("tabindex");
  }
});
document.querySelectorAll(".scroll").forEach((box) => boxes.observe(box));
