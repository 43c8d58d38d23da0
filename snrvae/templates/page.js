"use strict";

const page = JSON.parse(byId("page").textContent);
const state = pick(page.cells[page.start]);
const camera = { turn: 35, tilt: 22 }; // degrees, as in figure 4
const CENTRE = { x: 0, y: 0, z: -0.06 }; // what the camera looks at, a little below the cube's middle
let hand = null; // the cloud that a hand turned last
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false };
const BREAK = [NaN, NaN, NaN];
const EDGES = [ // of the cube, as one broken line
  [0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1],
  BREAK, [1, 0, 0], [1, 0, 1], BREAK, [1, 1, 0], [1, 1, 1], BREAK, [0, 1, 0], [0, 1, 1],
];
const CLOUDS = ["original", "reconstructed", "generated"];
const HAS_WEBGL = document.createElement("canvas").getContext("webgl") !== null;

function byId(id) {
  return document.getElementById(id);
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

/** Numbers and curves at once; then the clouds, one by one, so that nobody's next choice waits for all of them. */
async function render() {
  await showCell(chosen());
  await drawClouds(chosen());
}

function showCell(cell) {
  markControls(cell);
  markRow(cell);
  writeFacts(cell);
  return Promise.all([drawPlane(cell), drawLatents(cell)]);
}

async function drawClouds(cell) {
  for (const kind of CLOUDS) {
    await pause();
    if (cell !== chosen()) return; // a later choice draws its own
    await drawCloud(kind, cell);
  }
  document.documentElement.dataset.cell = cell.name;
}

function pause() {
  return new Promise(resume => setTimeout(resume));
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
    gap_db: silent ? "–" : `${text.gap_db} dB`,
    latent_kl_bits: `${text.latent_kl_bits} bit/dim`,
    surface_distance: text.surface_distance,
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
  const [low, high] = page.frame;
  const steps = new Uint16Array(bytes(base64).buffer);
  const values = Float32Array.from(steps, step => low + step * (high - low) / 65535);
  const count = values.length / 3;
  return [0, 1, 2].map(k => values.subarray(k * count, (k + 1) * count));
}

function cloud(kind, cell) {
  return kind === "original" ? page.original : cell[kind];
}

function drawCloud(kind, cell) {
  if (!HAS_WEBGL) {
    byId(kind).textContent = "This browser has no WebGL, which draws the clouds. Figure 4 of the report shows them.";
    return;
  }
  const { points, face } = cloud(kind, cell);
  const [x, y, z] = coordinates(points);
  const [ex, ey, ez] = [0, 1, 2].map(k => EDGES.map(corner => corner[k]));
  const colours = Array.from(bytes(face), k => page.faces[k].colour);
  const side = { visible: false, range: page.frame, autorange: false };
  const edges = { type: "scatter3d", mode: "lines", x: ex, y: ey, z: ez, hoverinfo: "skip",
                  line: { color: themed("muted"), width: 1.5 } };
  const dots = { type: "scatter3d", mode: "markers", x, y, z, hoverinfo: "skip",
                 marker: { size: 1.8, color: colours, line: { width: 0 } } };
  const scene = { xaxis: side, yaxis: side, zaxis: side, aspectmode: "cube", dragmode: "turntable", camera: view() };
  return Plotly.react(byId(kind), [edges, dots], layout({ margin: { l: 0, r: 0, t: 0, b: 0 }, scene }), CONFIG);
}

function view() {
  const [turn, tilt, distance] = [camera.turn * Math.PI / 180, camera.tilt * Math.PI / 180, 1.45];
  const eye = { x: Math.cos(turn) * Math.cos(tilt), y: Math.sin(turn) * Math.cos(tilt), z: Math.sin(tilt) };
  for (const k in eye) eye[k] = CENTRE[k] + distance * eye[k];
  return { eye, up: { x: 0, y: 0, z: 1 }, center: CENTRE };
}

/** The other clouds follow the one that a hand turns; the sliders follow too. */
function followCamera(event) {
  const eye = event["scene.camera"]?.eye;
  if (!eye) return;
  camera.turn = Math.atan2(eye.y, eye.x) * 180 / Math.PI;
  camera.tilt = Math.atan2(eye.z - CENTRE.z, Math.hypot(eye.x, eye.y)) * 180 / Math.PI;
  turnClouds();
}

function followHand(kind) {
  byId(kind).addEventListener("pointerdown", () => { hand = kind; }, { capture: true });
  for (const event of ["plotly_relayouting", "plotly_relayout"]) {
    byId(kind).on(event, change => { if (hand === kind) followCamera(change); }); // others only echo it
  }
}

/** All clouds, the hand's too, at what was followed last: its own last movement may have gone unheard. */
function letGo() {
  if (!hand) return;
  hand = null;
  turnClouds();
}

function turnClouds() {
  byId("turn").value = camera.turn;
  byId("tilt").value = camera.tilt;
  const others = CLOUDS.map(byId).filter(cloud => cloud.layout && cloud.id !== hand);
  for (const cloud of others) Plotly.relayout(cloud, { "scene.camera": view() });
}

// The rate–distortion plane

function drawPlane(cell) {
  const most = page.most_bits;
  const values = page.cells.map(other => other.mse);
  const floor = Math.log10(Math.min(...values) / 3);
  const curve = ({ bits, mse, colour }, dash) => (
    { x: bits, y: mse, mode: "lines", line: { color: colour, dash, width: 1.5 }, hoverinfo: "skip" });
  const { bits, mse } = page.limit;
  const bottom = bits.map(() => 10 ** (floor - 1));
  const traces = [
    { x: bits, y: bottom, mode: "lines", line: { width: 0 }, hoverinfo: "skip" },
    { x: bits, y: mse, mode: "lines", fill: "tonexty", fillcolor: themed("forbidden"),
      line: { color: themed("ink"), width: 2.5 }, hoverinfo: "skip" },
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
    annotations: [note],
    xaxis: axis("bits", { range: [0, most], domain: [0, 0.88] }),
    xaxis2: axis("", { range: [-1, 1], domain: [0.91, 1], tickvals: [0], ticktext: ["AE"], showgrid: false }),
    yaxis: axis("mse", { type: "log", range: [floor, Math.log10(0.2)], exponentformat: "power", dtick: 1 }),
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
  byId("plane").on("plotly_click", ({ points }) => {
    const index = points.find(point => point.customdata !== undefined)?.customdata;
    if (index !== undefined) chooseCell(page.cells[index]);
  });
  for (const name of ["turn", "tilt"]) {
    byId(name).addEventListener("input", ({ target }) => {
      camera[name] = Number(target.value);
      hand = null;
      turnClouds();
    });
  }
  addEventListener("pointerup", () => setTimeout(letGo, 150)); // after the events of the last movement
  byId("theme").addEventListener("click", () => setTheme(!isDark()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    markTheme();
    render();
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

async function start() {
  markTheme();
  turnClouds();
  await showCell(chosen());
  listen();
  document.documentElement.dataset.ready = Math.round(performance.now()); // ms since the page was asked for
  for (const kind of CLOUDS) {
    await pause();
    await drawCloud(kind, chosen());
    if (HAS_WEBGL) followHand(kind);
  }
  document.documentElement.dataset.cell = chosen().name;
}

start();
