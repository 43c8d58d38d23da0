"use strict";

const page = JSON.parse(byId("page").textContent);
const state = pick(page.cells[page.start]);
const camera = page.space ? { turn: 35, tilt: 22 } : { turn: -90, tilt: 90 }; // degrees; a plane from above
const clouds = {}; // what each canvas shows: x, y, z of its points, or grey levels of images, and colours
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false };
const CLOUDS = ["original", "reconstructed", "generated"];
const EYE = 25 / 6; // distance from the middle of what is shown, in its widths
const VIEW = 0.82; // from the middle of a picture to its nearest side, as far away as the middle
const DOT = 1.7; // radius of a point, in pixels

const plotly = loaded(byId("plotly").textContent);

function byId(id) {
  return document.getElementById(id);
}

/**
 * Plotly from its text, as a file of its own: the browser compiles such a one on another thread.
 * A viewer's policy may forbid such files; then as a part of the page. Resolves to whether it is there.
 */
function loaded(text) {
  const script = document.createElement("script");
  const hint = "//# allFunctionsCalledOnLoad\n"; // to V8: all of it, and not again at the first call
  script.src = URL.createObjectURL(new Blob([hint, text], { type: "text/javascript" }));
  const ended = new Promise(done => [script.onload, script.onerror] = [() => done(true), () => done(false)]);
  document.head.append(script);
  return ended.then(asFile => {
    if (!asFile) document.head.append(Object.assign(document.createElement("script"), { text }));
    return "Plotly" in window;
  });
}

// What is chosen

function pick({ noise, latent_dim, snr }) {
  return { noise, latent_dim, snr };
}

/** The cell of a choice; a basic AE has no SNR, and leaves the one that was chosen for the next codec. */
function find({ noise, latent_dim, snr }) {
  const fits = cell => cell.noise === noise && cell.latent_dim === latent_dim;
  return page.cells.find(cell => fits(cell) && (cell.snr === null || cell.snr === snr));
}

function chosen() {
  return find(state);
}

function choose(change) {
  Object.assign(state, change);
  return render();
}

function chooseCell(cell) {
  return choose({ ...pick(cell), snr: cell.snr ?? state.snr });
}

async function render() {
  const cell = chosen();
  markControls(cell);
  markRow(cell);
  writeFacts(cell);
  for (const kind of CLOUDS) clouds[kind] = decoded(cloud(kind, cell));
  drawClouds();
  if (await plotly) await Promise.all([drawPlane(cell), drawLatents(cell)]);
  document.documentElement.dataset.cell = cell.name;
}

// Controls, row and numbers

function markControls(cell) {
  for (const input of byId("choose").elements) {
    if (input.type !== "radio") continue;
    input.checked = meant(input) === state[input.name];
    input.disabled = !find({ ...state, [input.name]: meant(input) }); // what diverged cannot be shown
  }
  byId("snrs").disabled = cell.snr === null;
}

function meant({ name, value }) {
  return name === "noise" ? value : Number(value);
}

function markRow(cell) {
  for (const row of byId("cells").querySelectorAll("[data-index]")) {
    const here = page.cells[row.dataset.index] === cell;
    row.classList.toggle("chosen", here);
    row.querySelector("button").setAttribute("aria-pressed", here);
  }
}

function writeFacts(cell) {
  const { text } = cell;
  const silent = cell.snr === null;
  const facts = {
    mse: text.mse,
    bits_are: silent ? "capacity" : cell.bits_are,
    bits: silent ? "unbounded" : `${text.bits} bit`,
    gap_db: decibel(text.gap_db),
    one_point_db: decibel(text.one_point_db),
    network_db: decibel(text.network_db),
    latent_kl_bits: `${text.latent_kl_bits} bit/dim`,
    surface_distance: text.surface_distance,
    nearest_distance: text.nearest_distance,
    generation_ratio: text.generation_ratio,
    coverage: text.coverage,
  };
  byId("chosen").textContent = cell.title;
  for (const node of document.querySelectorAll("[data-fact]")) node.textContent = facts[node.dataset.fact];
  for (const node of document.querySelectorAll("[data-outside]")) {
    const { outside } = cloud(node.dataset.outside, cell);
    node.textContent = outside === null ? "" : `${outside} of the points lie outside the picture.`;
  }
  for (const node of document.querySelectorAll("[data-dimension]")) {
    node.hidden = node.dataset.dimension >= cell.latent_dim;
  }
}

function decibel(number) {
  return number === "–" ? number : `${number} dB`;
}

// Colours: those of the style sheet, as they are in the present theme

function themed(name) {
  const probe = byId("theme");
  probe.style.color = `var(--${name})`;
  const { color } = getComputedStyle(probe);
  probe.style.color = "";
  return color;
}

function isDark() {
  const { colorScheme } = document.documentElement.style;
  return colorScheme ? colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function layout(more) {
  return {
    margin: { l: 58, r: 8, t: 8, b: 44 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: themed("muted") },
    hoverlabel: { bgcolor: themed("card"), bordercolor: themed("line"), font: { color: themed("ink") } },
    showlegend: false,
    ...more,
  };
}

function axis(text, more) {
  const line = themed("line");
  return { title: { text, standoff: 8 }, gridcolor: line, linecolor: line, zeroline: false, fixedrange: true, ...more };
}

// The clouds

function bytes(base64) {
  return Uint8Array.from(atob(base64), character => character.charCodeAt(0));
}

function coordinates(base64) {
  const steps = new Uint16Array(bytes(base64).buffer);
  const count = steps.length / 3;
  return page.frame.map(([low, high], k) =>
    Float32Array.from(steps.subarray(k * count, (k + 1) * count), step => low + step * (high - low) / 65535));
}

function cloud(kind, cell) {
  return kind === "original" ? page.original : cell[kind];
}

function decoded({ points, label }) {
  const colours = Array.from(bytes(label), k => page.labels[k].colour);
  if (page.images) return { grey: bytes(points), colours };
  const [x, y, z] = coordinates(points);
  return { x, y, z, colours };
}

/**
 * A function from a point to its place in a picture and its size there: [right, down, size], in pixels.
 *
 * Canvases and not Plotly's WebGL: without a GPU a browser stands still for a second with each of its scenes.
 */
function perspective(width, height) {
  const [turn, tilt] = [camera.turn * Math.PI / 180, camera.tilt * Math.PI / 180];
  const [ct, st, ce, se] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  const widths = page.view.map(([low, high]) => high - low);
  const span = Math.hypot(...widths) / Math.sqrt(3); // of a cube its side
  const across = page.space ? Math.min(width, height) / 2 / VIEW : span * Math.min(width / widths[0], height / widths[1]);
  const middle = page.view.map(([low, high]) => (low + high) / 2);
  return (...point) => {
    const [a, b, c] = point.map((value, k) => (value - (middle[k] ?? 0)) / span);
    const size = EYE / (EYE - ce * (ct * a + st * b) - se * c);
    const right = ct * b - st * a;
    const up = ce * c - se * (ct * a + st * b);
    return [width / 2 + across * size * right, height / 2 - across * size * up, size];
  };
}

function drawClouds() {
  const line = themed("muted");
  const draw = page.images ? drawImages : drawCloud;
  for (const kind of CLOUDS) draw(byId(kind), clouds[kind], line);
}

function penOf(canvas) {
  const [width, height, sharpness] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
  [canvas.width, canvas.height] = [width * sharpness, height * sharpness];
  const pen = canvas.getContext("2d");
  pen.scale(sharpness, sharpness);
  return [pen, width, height];
}

/** A page of images, a frame of its label's colour around each. */
function drawImages(canvas, { grey, colours }) {
  const [pen, width, height] = penOf(canvas);
  const [rows, columns] = page.images;
  const side = Math.ceil(Math.sqrt(colours.length));
  const pixel = Math.min((width / side - 6) / columns, (height / side - 6) / rows);
  const [right, down] = [columns * pixel + 6, rows * pixel + 6];
  const one = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const levels = new ImageData(columns, rows);
  pen.imageSmoothingEnabled = false;
  pen.translate((width - side * right) / 2, (height - side * down) / 2);
  colours.forEach((colour, k) => {
    const own = grey.subarray(k * rows * columns, (k + 1) * rows * columns);
    new Uint32Array(levels.data.buffer).set(Uint32Array.from(own, level => 0xff000000 + level * 0x010101));
    one.getContext("2d").putImageData(levels, 0, 0);
    const [x, y] = [right * (k % side), down * Math.floor(k / side)];
    pen.fillStyle = colour;
    pen.fillRect(x + 1, y + 1, right - 2, down - 2);
    pen.drawImage(one, x + 3, y + 3, right - 6, down - 6);
  });
}

function drawCloud(canvas, { x, y, z, colours }, line) {
  const [pen, width, height] = penOf(canvas);
  const place = perspective(width, height);
  pen.strokeStyle = line;
  for (const corners of page.outline) {
    pen.beginPath();
    for (const corner of corners) pen.lineTo(...place(...corner).slice(0, 2));
    pen.stroke();
  }
  const dots = colours.map((colour, k) => [...place(x[k], y[k], z[k]), colour]);
  dots.sort((one, other) => one[2] - other[2]); // the nearest last
  for (const [right, down, size, colour] of dots) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(right, down, DOT * size, 0, 2 * Math.PI);
    pen.fill();
  }
}

function turnTo(turn, tilt) {
  camera.turn = turn - 360 * Math.round(turn / 360);
  camera.tilt = Math.max(-85, Math.min(85, tilt));
  byId("turn").value = camera.turn;
  byId("tilt").value = camera.tilt;
  drawClouds();
}

/** All clouds turn with the one that a hand drags. */
function followHand(canvas) {
  canvas.addEventListener("pointerdown", ({ pointerId }) => canvas.setPointerCapture(pointerId));
  canvas.addEventListener("pointermove", ({ pointerId, movementX, movementY }) => {
    if (!canvas.hasPointerCapture(pointerId)) return;
    turnTo(camera.turn - movementX / 2, camera.tilt + movementY / 2);
  });
}

// The rate–distortion plane

function drawPlane(cell) {
  const most = page.most_bits;
  const values = page.cells.map(other => other.mse);
  const floor = Math.log10(Math.min(...values) / 3);
  const curve = ({ bits, mse, colour }, dash) => (
    { x: bits, y: mse, mode: "lines", line: { color: colour, dash, width: 1.5 }, hoverinfo: "skip" });
  const limit = ({ bits, mse, sure, dash }) => [
    { x: bits, y: bits.map(() => 10 ** (floor - 1)), mode: "lines", line: { width: 0 }, hoverinfo: "skip" },
    { x: bits, y: mse, mode: "lines", fill: sure ? "tonexty" : "none", fillcolor: themed("forbidden"),
      line: { color: themed("ink"), dash, width: 2.5 }, hoverinfo: "skip" },
  ];
  const traces = [
    ...page.limits.flatMap(limit),
    { ...curve(page.normal, "solid"), line: { color: themed("muted"), width: 0.8 } },
    ...page.linear.map(line => curve(line, "dash")),
    ...page.asymptotes.map(line => curve(line, "dot")),
    ...ring(cell),
    markers(page.cells.filter(other => other.snr !== null), "x"),
    markers(page.cells.filter(other => other.snr === null), "x2"),
  ];
  const note = { text: "no code can be here", xref: "x", yref: "paper", x: most * 0.03, y: 0.04, showarrow: false,
                 xanchor: "left", font: { color: themed("muted") } };
  return Plotly.react(byId("plane"), traces, layout({
    hovermode: "closest",
    annotations: page.limits.some(({ sure }) => sure) ? [note] : [],
    xaxis: axis("bits", { range: [0, most], domain: [0, 0.88] }),
    xaxis2: axis("", { range: [-1, 1], domain: [0.91, 1], tickvals: [0], ticktext: ["AE"], showgrid: false }),
    yaxis: axis("mse", { type: "log", range: [floor, Math.log10(page.highest)], exponentformat: "power", dtick: 1 }),
  }), CONFIG);
}

function position(cell) {
  return cell.snr === null ? { x: [0], y: [cell.mse], xaxis: "x2" } : { x: [cell.bits], y: [cell.mse] };
}

function ring(cell) {
  const marker = { symbol: "circle-open", size: 24, color: themed("ink"), line: { width: 2.5 } };
  return [{ ...position(cell), mode: "markers", marker, hoverinfo: "skip", cliponaxis: false }];
}

function markers(cells, xaxis) {
  const symbols = new Map(page.snrs.map(({ snr, symbol }) => [snr, symbol]));
  const fill = cell => cell.noise === "learned" ? themed("card") : cell.colour;
  return {
    x: cells.map(cell => position(cell).x[0]),
    y: cells.map(cell => cell.mse),
    xaxis,
    mode: "markers",
    customdata: cells.map(cell => page.cells.indexOf(cell)),
    text: cells.map(cell => `${cell.title}<br>mse ${cell.text.mse}`),
    hovertemplate: "%{text}<extra></extra>",
    cliponaxis: false,
    marker: {
      symbol: cells.map(cell => symbols.get(cell.snr) ?? "circle"),
      color: cells.map(fill),
      line: { color: cells.map(cell => cell.colour), width: 2 },
      size: 10,
      opacity: 1,
    },
  };
}

// The latents

function drawLatents(cell) {
  const { centre, density } = cell.latents;
  const single = density.length === 1;
  const outlines = density.map((y, k) => ({
    x: centre, y, mode: "lines", line: { shape: "hvh", color: page.dimension_colours[k], width: 1.8 },
    fill: single ? "tozeroy" : "none", hoverinfo: "skip",
  }));
  const normal = { x: centre, y: centre.map(z => Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI)), mode: "lines",
                   line: { color: themed("ink"), dash: "dash", width: 1.8, shape: "spline" }, hoverinfo: "skip" };
  return Plotly.react(byId("latents"), [...outlines, normal], layout({
    xaxis: axis("latent value z", { showgrid: false }),
    yaxis: axis("density", { rangemode: "tozero" }),
  }), CONFIG);
}

// What people do

function listen() {
  byId("choose").addEventListener("change", ({ target }) => {
    choose({ [target.name]: meant(target) });
  });
  byId("choose").addEventListener("submit", event => event.preventDefault());
  byId("cells").tBodies[0].addEventListener("click", ({ target }) => {
    const cell = page.cells[target.closest("tr").dataset.index];
    if (cell) chooseCell(cell);
  });
  if (page.space) {
    byId("turn").addEventListener("input", ({ target }) => turnTo(Number(target.value), camera.tilt));
    byId("tilt").addEventListener("input", ({ target }) => turnTo(camera.turn, Number(target.value)));
    CLOUDS.map(byId).forEach(followHand);
  }
  addEventListener("resize", drawClouds);
  byId("theme").addEventListener("click", () => setTheme(!isDark()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    markTheme();
    render();
  });
}

function listenToPlane() {
  byId("plane").on("plotly_click", ({ points }) => {
    const index = points.find(point => point.customdata !== undefined)?.customdata;
    if (index !== undefined) chooseCell(page.cells[index]);
  });
}

function setTheme(dark) {
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  markTheme();
  render();
}

function markTheme() {
  byId("theme").setAttribute("aria-pressed", isDark());
}

/** The rows of cells.csv that the page shows, with all columns. */
function offerTable() {
  const link = byId("download");
  link.href = URL.createObjectURL(new Blob([page.csv], { type: "text/csv" }));
  link.hidden = false;
}

async function start() {
  markTheme();
  offerTable();
  if (page.space) [byId("turn").value, byId("tilt").value] = [camera.turn, camera.tilt];
  byId("undrawn").hidden = true;
  listen();
  await render();
  if (await plotly) listenToPlane();
  else Object.assign(byId("undrawn"), { hidden: false, className: "certain" });
  document.documentElement.dataset.ready = Math.round(performance.now()); // ms since the page was asked for
}

start();
