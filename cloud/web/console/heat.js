// From a grid of presence to pixels: smoothing, scale, colours. No DOM beyond the canvas it is given.

/** Standard deviation of the smoothing, metres: about how well a position is known. */
const SIGMA_M = 0.7;
/** Pixels along the longer side of the image that the browser then scales; more is not visible under smoothing. */
const IMAGE_SIDE = 400;
/** The scale ends at this quantile of the occupied cells, so that one till does not bleach the rest. */
const TOP_QUANTILE = 0.998;

/**
 * A copy of the grid, smoothed by a Gaussian along both axes. At the edges the weights are renormalised, so a shelf
 * on a wall does not look emptier than one in the middle.
 * @param {Float32Array} values row-major, ny rows of nx
 * @param {number} nx @param {number} ny @param {number} cell_m
 */
export function smooth(values, nx, ny, cell_m) {
  const sigma = Math.max(SIGMA_M / cell_m, 0.6);
  const reach = Math.ceil(sigma * 2.5);
  const weights = Float32Array.from({ length: reach + 1 }, (_, i) => Math.exp((-i * i) / (2 * sigma * sigma)));
  const across = new Float32Array(nx * ny);
  blurLines(values, across, ny, nx, nx, 1, weights);
  const out = new Float32Array(nx * ny);
  blurLines(across, out, nx, ny, 1, nx, weights);
  return out;
}

/**
 * @param {Float32Array} from @param {Float32Array} to
 * @param {number} lines @param {number} length @param {number} lineStride @param {number} stride
 * @param {Float32Array} weights
 */
function blurLines(from, to, lines, length, lineStride, stride, weights) {
  const reach = weights.length - 1;
  for (let line = 0; line < lines; line++) {
    const start = line * lineStride;
    for (let i = 0; i < length; i++) {
      const last = Math.min(length - 1, i + reach);
      let sum = 0;
      let mass = 0;
      for (let j = Math.max(0, i - reach); j <= last; j++) {
        const weight = weights[Math.abs(i - j)];
        sum += weight * from[start + j * stride];
        mass += weight;
      }
      to[start + i * stride] = sum / mass;
    }
  }
}

/** The value at which the scale ends; 0 for a grid without presence. @param {Float32Array} values */
export function scaleTop(values) {
  const occupied = values.filter((value) => value > 0).sort();
  return occupied.length === 0 ? 0 : occupied[Math.floor((occupied.length - 1) * TOP_QUANTILE)];
}

/** Colour stops as [OKLab lightness, chroma, hue in degrees], from least to most presence. */
const LIGHT_STOPS = [[0.93, 0.05, 170], [0.8, 0.1, 175], [0.66, 0.1, 210], [0.5, 0.13, 255], [0.34, 0.15, 285]];
const DARK_STOPS = [[0.3, 0.07, 280], [0.42, 0.14, 290], [0.58, 0.18, 340], [0.74, 0.16, 40], [0.93, 0.13, 95]];

/**
 * 256 RGBA colours of even lightness steps. The first are see-through, so that the plan stays visible where nobody was.
 * @param {boolean} dark
 */
export function colourTable(dark) {
  const stops = dark ? DARK_STOPS : LIGHT_STOPS;
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    const [r, g, b] = mixed(stops[k], stops[k + 1], at - k);
    table.set([r, g, b, 255 * Math.min(1, i / 38)], i * 4);
  }
  return table;
}

/** sRGB of the point between two stops, mixed in OKLab (Ottosson 2020). @param {number[]} from @param {number[]} to @param {number} share */
function mixed(from, to, share) {
  const [l0, a0, b0] = lab(from);
  const [l1, a1, b1] = lab(to);
  const light = l0 + (l1 - l0) * share;
  const a = a0 + (a1 - a0) * share;
  const b = b0 + (b1 - b0) * share;
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((linear) => 255 * (linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055));
}

/** @param {number[]} stop */
function lab([light, chroma, hue]) {
  const angle = (hue * Math.PI) / 180;
  return [light, chroma * Math.cos(angle), chroma * Math.sin(angle)];
}

/**
 * Draws a smoothed grid over the whole canvas, row 0 at the bottom. Values between cell centres are bilinear.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} values @param {number} nx @param {number} ny
 * @param {number} top the value of the strongest colour
 * @param {Uint8ClampedArray} table
 */
export function paint(canvas, values, nx, ny, top, table) {
  const context = canvas.getContext("2d");
  if (!context) return;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (top <= 0) return;
  const zoom = Math.max(1, Math.min(8, Math.floor(IMAGE_SIDE / Math.max(nx, ny))));
  const image = new ImageData(nx * zoom, ny * zoom);
  fill(image, values, nx, ny, zoom, top, table);
  const buffer = new OffscreenCanvas(image.width, image.height);
  buffer.getContext("2d")?.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(buffer, 0, 0, canvas.width, canvas.height);
}

/**
 * @param {ImageData} image @param {Float32Array} values @param {number} nx @param {number} ny
 * @param {number} zoom @param {number} top @param {Uint8ClampedArray} table
 */
function fill(image, values, nx, ny, zoom, top, table) {
  const pixels = new Uint32Array(image.data.buffer);
  const colours = new Uint32Array(table.buffer);
  const { width, height } = image;
  for (let py = 0; py < height; py++) {
    const y = Math.min(ny - 1, Math.max(0, (height - py - 0.5) / zoom - 0.5));
    const y0 = Math.floor(y);
    const low = y0 * nx;
    const high = Math.min(ny - 1, y0 + 1) * nx;
    const wy = y - y0;
    for (let px = 0; px < width; px++) {
      const x = Math.min(nx - 1, Math.max(0, (px + 0.5) / zoom - 0.5));
      const x0 = Math.floor(x);
      const x1 = Math.min(nx - 1, x0 + 1);
      const wx = x - x0;
      const lower = values[low + x0] * (1 - wx) + values[low + x1] * wx;
      const upper = values[high + x0] * (1 - wx) + values[high + x1] * wx;
      // The square root spreads the quiet parts of the floor: presence is heavy-tailed.
      const level = Math.sqrt(Math.max(0, lower * (1 - wy) + upper * wy) / top);
      pixels[py * width + px] = colours[Math.min(255, Math.floor(level * 255))];
    }
  }
}
