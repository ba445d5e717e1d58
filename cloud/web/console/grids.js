// Fetching presence grids, and keeping those of finished periods.
import { ApiError, getBytes, withQuery } from "../shared/api.js";
import { scaleTop, smooth } from "./heat.js";

/** @typedef {import("./types.js").Grid} Grid */
/** @typedef {import("./types.js").GridMeta} GridMeta */
/** @typedef {import("./types.js").Span} Span */
/**
 * A grid as it is drawn: smoothed, where its scale ends, and how long that took.
 * @typedef {Grid & {smoothed: Float32Array, top: number, smooth_ms: number}} Drawn
 */

const MOST_KEPT = 240;
/** @type {Map<string, Promise<Drawn>>} */
const kept = new Map();

/** What a map can show. @typedef {"presence" | "stops" | "dwell"} Layer */

/**
 * Where a map's numbers are, as a grid or as a file to keep.
 * @param {string} store @param {string} floor @param {Layer} layer @param {Span} span @param {string} [format]
 */
export function gridPath(store, floor, layer, span, format) {
  return withQuery(`/v1/stores/${encodeURIComponent(store)}/heatmap`, {
    floor, layer, ...(format ? { format } : {}), from_us: Math.round(span.from_us), to_us: Math.round(span.to_us),
  });
}

/**
 * @param {string} store @param {string} floor @param {Layer} layer @param {Span} span @param {AbortSignal} [signal]
 * @returns {Promise<Drawn>}
 */
export async function loadGrid(store, floor, layer, span, signal) {
  const { bytes, headers } = await getBytes(gridPath(store, floor, layer, span), signal);
  /** @type {GridMeta} */
  const meta = JSON.parse(headers.get("x-aisle-grid") ?? "{}");
  if (bytes.byteLength !== meta.nx * meta.ny * 4) {
    throw new ApiError("broken", 200, `${bytes.byteLength} bytes for a grid of ${meta.nx} × ${meta.ny}`);
  }
  const started = performance.now();
  const values = new Float32Array(bytes);
  const smoothed = smooth(values, meta.nx, meta.ny, meta.cell_m);
  const top = scaleTop(smoothed);
  return { meta, values, smoothed, top, smooth_ms: performance.now() - started };
}

/**
 * The same, from memory where this period was loaded before.
 * @param {string} store @param {string} floor @param {Layer} layer @param {Span} span
 */
export function keptGrid(store, floor, layer, span) {
  const key = JSON.stringify([store, floor, layer, span.from_us, span.to_us]);
  let grid = kept.get(key);
  if (!grid) {
    grid = loadGrid(store, floor, layer, span);
    grid.catch(() => kept.delete(key));
    kept.set(key, grid);
    const oldest = kept.keys().next().value;
    if (kept.size > MOST_KEPT && oldest !== undefined) kept.delete(oldest);
  }
  return grid;
}

/** Nothing that one account loaded is shown to the next. */
export function forgetGrids() {
  kept.clear();
}
