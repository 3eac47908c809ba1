// Four pictures with sliders. Each element with data-demo holds a text that stands for the picture
// where scripts are off; here the picture and its sliders take its place.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 640, HEIGHT = 280;

/** An SVG element with attributes. */
function draw(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return parent.appendChild(element);
}

/** Standard normal numbers, the same in every browser: a linear congruence and Box-Muller. */
function normals(count, seed) {
  let state = seed;
  const uniform = () => {
    state = (1664525 * state + 1013904223) % 4294967296;
    return (state + 1) / 4294967297;
  };
  const one = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return Array.from({ length: count }, one);
}

/** The picture and labelled sliders of one demo; redraws whenever a slider moves. */
function demo(place, sliders, redraw) {
  place.replaceChildren();
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  picture.setAttribute("role", "img");
  place.append(picture);
  const inputs = {}, shown = {};
  const update = () => {
    const values = {};
    for (const [name, input] of Object.entries(inputs)) {
      values[name] = Number(input.value);
      shown[name].textContent = input.value;
    }
    picture.replaceChildren();
    const said = redraw(picture, values);
    picture.setAttribute("aria-label", said);
    line.textContent = said;
  };
  for (const [name, [title, low, high, step, start]] of Object.entries(sliders)) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: low, max: high, step });
    input.value = start;
    input.addEventListener("input", update);
    shown[name] = document.createElement("output");
    label.append(`${title} `, input, " ", shown[name]);
    inputs[name] = input;
    place.append(label);
  }
  const line = document.createElement("p");
  line.setAttribute("aria-live", "polite");
  place.append(line);
  update();
}

function heterogeneity(place) {
  const each = 60;
  const noise = normals(8 * each, 7);
  // Speaker, emotion, and the two features before any style.
  const points = [];
  for (let i = 0; i < 4 * each; i++) {
    const speaker = Math.floor(i / (2 * each)), emotion = i % 2;
    points.push({ speaker, emotion, u: [(emotion ? 1 : -1) + 0.45 * noise[2 * i], noise[2 * i + 1]] });
  }
  const style = [{ a: [0.7, 1.2], c: [-1.3, 0.9] }, { a: [1.5, 0.8], c: [1.3, -0.9] }];
  const shift = (u, s, h) => u.map((v, d) => v * Math.pow(style[s].a[d], h) + h * style[s].c[d]);
  const standardised = (rows) => {
    const out = rows.map((row) => ({ ...row, x: [...row.x] }));
    for (const s of [0, 1]) for (const d of [0, 1]) {
      const own = out.filter((row) => row.speaker === s);
      const mean = own.reduce((sum, row) => sum + row.x[d], 0) / own.length;
      const sd = Math.sqrt(own.reduce((sum, row) => sum + (row.x[d] - mean) ** 2, 0) / own.length);
      for (const row of own) row.x[d] = (row.x[d] - mean) / sd;
    }
    return out;
  };
  /** Share of points on the wrong side of the line that Fisher's discriminant gives. */
  const wrong = (rows) => {
    const mean = [0, 1].map((e) => [0, 1].map((d) => {
      const of = rows.filter((row) => row.emotion === e);
      return of.reduce((sum, row) => sum + row.x[d], 0) / of.length;
    }));
    const s = [[0, 0], [0, 0]];
    for (const row of rows) for (const i of [0, 1]) for (const j of [0, 1])
      s[i][j] += (row.x[i] - mean[row.emotion][i]) * (row.x[j] - mean[row.emotion][j]);
    const gap = [0, 1].map((d) => mean[1][d] - mean[0][d]);
    const w = [s[1][1] * gap[0] - s[0][1] * gap[1], s[0][0] * gap[1] - s[1][0] * gap[0]];
    const middle = [0, 1].map((d) => (mean[0][d] + mean[1][d]) / 2);
    const errors = rows.filter((row) =>
      (w[0] * (row.x[0] - middle[0]) + w[1] * (row.x[1] - middle[1]) > 0) !== (row.emotion === 1));
    return Math.round((100 * errors.length) / rows.length);
  };
  const panel = (picture, rows, left, title) => {
    draw(picture, "rect", { x: left, y: 30, width: 300, height: 240, class: "frame" });
    draw(picture, "text", { x: left + 150, y: 20, class: "title" }, title);
    for (const { speaker, emotion, x } of rows) {
      const cx = left + 150 + 32 * Math.max(-4.5, Math.min(4.5, x[0]));
      const cy = 150 - 26 * Math.max(-4.4, Math.min(4.4, x[1]));
      if (emotion) draw(picture, "circle", { cx, cy, r: 3.5, class: `open speaker${speaker}` });
      else draw(picture, "path",
        { d: `M${cx - 3} ${cy - 3}l6 6m0 -6l-6 6`, class: `open speaker${speaker}` });
    }
  };
  demo(place, { h: ["heterogeneity", 0, 2, 0.1, 1] }, (picture, { h }) => {
    const raw = points.map((p) => ({ ...p, x: shift(p.u, p.speaker, h) }));
    const calm = standardised(raw);
    panel(picture, raw, 5, "as expressed");
    panel(picture, calm, 335, "each speaker standardised");
    return `Heterogeneity ${h}: the best single line is wrong for ${wrong(raw)} % of the points as ` +
      `expressed, and for ${wrong(calm)} % after standardising each speaker.`;
  });
}

/** Axes for curves: maps of x and y to the picture, with ticks along x. */
function axes(picture, low, high, top, ticks, title) {
  const px = (x) => 40 + ((WIDTH - 60) * (x - low)) / (high - low);
  const py = (y) => HEIGHT - 45 - ((HEIGHT - 65) * Math.min(y, top)) / top;
  draw(picture, "path", { d: `M${px(low)} ${py(0)}H${px(high)}`, class: "frame" });
  for (const [x, label] of ticks) draw(picture, "text", { x: px(x), y: HEIGHT - 27, class: "tick" }, label);
  draw(picture, "text", { x: WIDTH / 2, y: HEIGHT - 8, class: "tick" }, title);
  return [px, py];
}

/** A curve through y(x). */
function curve(picture, [px, py], xs, y, style) {
  const d = xs.map((x, i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y(x)).toFixed(1)}`).join("");
  draw(picture, "path", { d, class: `curve ${style}` });
}

function calibration(place) {
  const density = (mean, sd) => (x) => Math.exp(-0.5 * ((x - mean) / sd) ** 2) / sd;
  const xs = Array.from({ length: 241 }, (_, i) => -6 + i / 20);
  const sliders = { gamma: ["γ", 0.2, 3, 0.1, 1], beta: ["β", -6, 3, 0.1, 0] };
  demo(place, sliders, (picture, { gamma, beta }) => {
    const ticks = [-6, -4, -2, 0, 2, 4, 6].map((x) => [x, String(x)]);
    const scale = axes(picture, -6, 6, 2.1, ticks, "feature");
    const mean = gamma * 2 + beta, sd = gamma * 0.5;
    curve(picture, scale, xs, density(0, 1), "population");
    curve(picture, scale, xs, density(2, 0.5), "raw");
    curve(picture, scale, xs, density(mean, sd), "ours");
    // Of two normal distributions; 0 where they agree.
    const divergence = Math.log(1 / sd) + (sd ** 2 + mean ** 2) / 2 - 0.5;
    const solved = divergence < 0.005 ? " Found." : "";
    return `Calibrated: mean ${mean.toFixed(1)}, standard deviation ${sd.toFixed(2)}; divergence ` +
      `from the population ${divergence.toFixed(2)}.${solved}`;
  });
}

function shrinkage(place) {
  const counts = [...Array(51).keys()];
  const sliders = { n: ["utterances n", 0, 50, 1, 3], ratio: ["w / b", 0.5, 10, 0.5, 4] };
  demo(place, sliders, (picture, { n, ratio }) => {
    const ticks = [0, 10, 20, 30, 40, 50].map((x) => [x, String(x)]);
    const scale = axes(picture, 0, 50, 2, ticks, "utterances");
    const k = (m) => m / (m + ratio);
    const shrunk = (m) => k(m) ** 2 * (m ? ratio / m : 0) + (1 - k(m)) ** 2;
    curve(picture, scale, counts.slice(1), (m) => ratio / m, "raw");
    curve(picture, scale, counts, () => 1, "population");
    curve(picture, scale, counts, shrunk, "ours");
    draw(picture, "circle", { cx: scale[0](n), cy: scale[1](shrunk(n)), r: 5, class: "ours dot" });
    const plain = n ? `${(ratio / n).toFixed(2)} b` : "not defined";
    return `n = ${n}: k = ${k(n).toFixed(2)}; expected squared error: plain mean (dashed) ${plain}, ` +
      `population (grey) 1.00 b, shrunk (blue) ${shrunk(n).toFixed(2)} b.`;
  });
}

function lambda(place) {
  const each = 15, sure = 2;
  // Around -1 and 1 like a sample of standard deviation 0.5: chapter 5 draws the same points.
  const points = Array.from({ length: 4 * each }, (_, n) => {
    const group = Math.floor(n / each), i = n % each;
    const speaker = Math.floor(group / 2), emotion = group % 2;
    const radius = 0.5 * Math.sqrt(-2 * Math.log(1 - (i + 0.5) / each));
    const turn = i * Math.PI * (3 - Math.sqrt(5)) + (group * Math.PI) / 2;
    const x = [2 * emotion - 1 + radius * Math.cos(turn), 2 * speaker - 1 + radius * Math.sin(turn)];
    return { speaker, emotion, x };
  });
  const along = (angle) => [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)];
  /** z of every utterance times 1 or -1, its emotion or speaker: positive where it is right. */
  const margins = (angle, what) => points.map((p) =>
    (2 * p[what] - 1) * (p.x[0] * along(angle)[0] + p.x[1] * along(angle)[1]));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const loss = (what) => (angle) =>
    mean(margins(angle, what).map((m) => Math.log1p(Math.exp(-2 * sure * m))));
  const right = (angle, what) => Math.round(100 * mean(margins(angle, what).map((m) => m > 0)));
  const angles = [...Array(91).keys()];
  const erc = angles.map(loss("emotion")), spk = angles.map(loss("speaker"));
  demo(place, { lam: ["λ", 0, 2, 0.1, 0.5] }, (picture, { lam }) => {
    const total = angles.map((a) => erc[a] + lam * spk[a]);
    const best = total.indexOf(Math.min(...total));
    const px = (x) => 125 + 44 * x, py = (y) => 150 - 44 * y;
    draw(picture, "rect", { x: 5, y: 30, width: 240, height: 240, class: "frame" });
    draw(picture, "text", { x: 125, y: 20, class: "title" }, "emotion across, speaker upwards");
    for (const { speaker, emotion, x } of points) {
      const cx = px(x[0]), cy = py(x[1]), look = `open speaker${speaker}`;
      if (emotion) draw(picture, "circle", { cx, cy, r: 3.5, class: look });
      else draw(picture, "path", { d: `M${cx - 3} ${cy - 3}l6 6m0 -6l-6 6`, class: look });
    }
    const [c, s] = along(best).map((value) => 2.3 * value);
    draw(picture, "path", { d: `M${px(-c)} ${py(-s)}L${px(c)} ${py(s)}`, class: "curve ours" });
    draw(picture, "circle", { cx: px(c), cy: py(s), r: 5, class: "ours dot" });
    const scale = [(a) => 285 + 3.7 * a, (y) => 235 - 51 * Math.min(y, 4)];
    draw(picture, "path", { d: `M285 235H${scale[0](90)}`, class: "frame" });
    for (const a of [0, 30, 60, 90])
      draw(picture, "text", { x: scale[0](a), y: 253, class: "tick" }, `${a}°`);
    draw(picture, "text", { x: scale[0](45), y: 272, class: "tick" }, "angle of z");
    curve(picture, scale, angles, (a) => erc[a], "raw");
    curve(picture, scale, angles, (a) => lam * spk[a], "population");
    curve(picture, scale, angles, (a) => total[a], "ours");
    draw(picture, "circle",
      { cx: scale[0](best), cy: scale[1](total[best]), r: 5, class: "ours dot" });
    return `λ = ${lam}: the sum (blue) of the emotion's loss (dashed) and λ times the speaker's ` +
      `(grey) is smallest at ${best}°. There z shows the emotion of ${right(best, "emotion")} % of ` +
      `the utterances and the speaker of ${right(best, "speaker")} % (by chance 50 %).`;
  });
}

const DEMOS = { heterogeneity, calibration, shrinkage, lambda };
for (const place of document.querySelectorAll("[data-demo]")) DEMOS[place.dataset.demo](place);
