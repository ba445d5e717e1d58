// The floor plan: presence on a canvas, and zones, nodes and asset tracks as SVG above it. y grows upwards.
import { useEffect, useMemo, useRef } from "preact/hooks";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { useDark, useWidth } from "../shared/parts.js";
import { colourTable, paint } from "./heat.js";
import { nodeStates, t } from "./strings.js";

/** @typedef {import("./types.js").Plan} Plan */
/** @typedef {import("./types.js").Floor} Floor */
/** @typedef {import("./types.js").Zone} Zone */
/** @typedef {import("./types.js").Track} Track */
/** @typedef {import("./types.js").NodeRow} NodeRow */
/** @typedef {import("./types.js").Counted} Counted */
/** @typedef {import("./grids.js").Drawn} Drawn */

// Everything is drawn in units of 1/16 rem, so that names and nodes grow with the page on very wide screens.

/** Free space around the floor: nodes hang on walls. */
const MARGIN = 14;
/** About the width of a letter of a zone's name. */
const LETTER = 6.6;
/** An asset unheard for longer than this may have been anywhere meanwhile, microseconds. */
const GAP_US = 60e6;

/**
 * @typedef {{plan: Plan, floor: Floor, tz: string, grid: Drawn | null, top: number, strength: number,
 *   layers: Record<string, boolean>, nodes: NodeRow[], tracks: Track[], counts: Map<string, Counted>,
 *   chosen: string | null, onChoose: (zone: string | null) => void,
 *   onPoint: (at: {x_m: number, y_m: number, value: number} | null) => void}} FloorProps
 */

/** @param {FloorProps} props */
export function FloorPlan(props) {
  const { plan, floor, grid, layers } = props;
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const unit_px = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  const width = useWidth(box) / unit_px;
  const scale = Math.max(1, (width - 2 * MARGIN) / floor.width_m);
  const height = floor.depth_m * scale + 2 * MARGIN;
  /** @param {number} x_m */
  const px = (x_m) => MARGIN + x_m * scale;
  /** @param {number} y_m */
  const py = (y_m) => MARGIN + (floor.depth_m - y_m) * scale;

  /** @param {PointerEvent} event */
  function look(event) {
    const frame = box.current?.getBoundingClientRect();
    if (!frame) return;
    const x_m = ((event.clientX - frame.left) / unit_px - MARGIN) / scale;
    const y_m = floor.depth_m - ((event.clientY - frame.top) / unit_px - MARGIN) / scale;
    const inside = x_m >= 0 && y_m >= 0 && x_m < floor.width_m && y_m < floor.depth_m;
    props.onPoint(inside ? { x_m, y_m, value: valueAt(grid, x_m, y_m) } : null);
  }

  // The whole plan and its time line fit on one screen, whatever the floor's proportions.
  const fit = `max(18rem, calc((100dvh - 27rem) * ${(floor.width_m / floor.depth_m).toFixed(4)}))`;
  return html`<div class="floor" ref=${box} style=${{ maxWidth: fit }} onPointerMove=${look} onPointerLeave=${() => props.onPoint(null)}>
    <${HeatLayer} grid=${layers.heat ? grid : null} top=${props.top} strength=${props.strength}
      margin=${MARGIN * unit_px}
      width=${floor.width_m * scale * unit_px} height=${floor.depth_m * scale * unit_px} />
    <svg viewBox="0 0 ${width} ${height}" role="img" aria-label=${t.map.plan(floor.name)}>
      <rect class="walls" x=${px(0)} y=${py(floor.depth_m)} width=${floor.width_m * scale} height=${floor.depth_m * scale} />
      ${plan.zones.filter((zone) => zone.floor === floor.floor).map((zone) => html`<${ZoneShape} key=${zone.zone}
        zone=${zone} px=${px} py=${py} name=${layers.names} count=${props.counts.get(zone.zone)}
        chosen=${props.chosen === zone.zone} onChoose=${props.onChoose} />`)}
      ${layers.tracks && props.tracks.map((track) => html`<${TrackShape} key=${track.label} track=${track}
        px=${px} py=${py} scale=${scale} tz=${props.tz} />`)}
      ${layers.nodes && plan.nodes.filter((node) => node.floor === floor.floor).map((node) => {
        const state = props.nodes.find((row) => row.node === node.node)?.state ?? "unknown";
        return html`<g key=${node.node} class="node ${state}" transform="translate(${px(node.x_m)} ${py(node.y_m)})">
          <title>${t.map.nodeLabel(node.node, nodeStates[state] ?? state)}</title>
          <circle r="6" />${state !== "online" && html`<path d="M-2.5 -2.5l5 5M2.5 -2.5l-5 5" />`}
        </g>`;
      })}
    </svg>
  </div>`;
}

/** The grid's value where a point lies, in the grid's unit. @param {Drawn | null} grid @param {number} x_m @param {number} y_m */
function valueAt(grid, x_m, y_m) {
  if (!grid) return 0;
  const { nx, ny, cell_m } = grid.meta;
  const column = Math.min(nx - 1, Math.floor(x_m / cell_m));
  const row = Math.min(ny - 1, Math.floor(y_m / cell_m));
  return grid.smoothed[row * nx + column];
}

/** Measures in CSS pixels. @param {{grid: Drawn | null, top: number, strength: number, margin: number, width: number, height: number}} props */
function HeatLayer({ grid, top, strength, margin, width, height }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const dark = useDark();
  const table = useMemo(() => colourTable(dark), [dark]);

  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    element.width = Math.max(1, Math.round(width * devicePixelRatio));
    element.height = Math.max(1, Math.round(height * devicePixelRatio));
    if (!grid) return;
    const started = performance.now();
    paint(element, grid.smoothed, grid.meta.nx, grid.meta.ny, top, table);
    const paint_ms = performance.now() - started;
    // For whoever measures: from a grid's arrival to its pixels.
    window.aisle = { paintMs: paint_ms + grid.smooth_ms, repaintMs: paint_ms, paints: (window.aisle?.paints ?? 0) + 1 };
  }, [grid, top, table, width, height]);

  return html`<canvas ref=${canvas} class="heat" aria-hidden="true"
    style=${{ left: `${margin}px`, top: `${margin}px`, width: `${width}px`, height: `${height}px`, opacity: strength }}></canvas>`;
}

/**
 * @param {{zone: Zone, px: (x: number) => number, py: (y: number) => number, name: boolean,
 *   count: Counted | undefined, chosen: boolean, onChoose: (zone: string | null) => void}} props
 */
function ZoneShape({ zone, px, py, name, count, chosen, onChoose }) {
  const xs = zone.polygon.map(([x]) => px(x));
  const ys = zone.polygon.map(([, y]) => py(y));
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [high, low] = [Math.min(...ys), Math.max(...ys)];
  const middle = (left + right) / 2;
  const number = count && (count.n !== null ? format.count(count.n) : count.less_than ? t.few.short(count.less_than) : "");
  const named = name && zone.name.length * LETTER < right - left - 4 && low - high > 16;
  const numbered = number && number !== "0" && right - left > 24 && low - high > (named ? 40 : 18);
  return html`<g class="zone ${zone.kind} ${chosen ? "chosen" : ""}" onClick=${() => onChoose(chosen ? null : zone.zone)}>
    <title>${zone.name}</title>
    <polygon points=${xs.map((x, i) => `${x},${ys[i]}`).join(" ")} />
    ${named && html`<text x=${middle} y=${(high + low) / 2 + (numbered ? -3 : 4)}>${zone.name}</text>`}
    ${numbered && html`<text class="count" x=${middle} y=${(high + low) / 2 + (named ? 15 : 6)}>${number}</text>`}
  </g>`;
}

/** @param {{track: Track, px: (x: number) => number, py: (y: number) => number, scale: number, tz: string}} props */
function TrackShape({ track, px, py, scale, tz }) {
  const last = track.points.at(-1);
  if (!last) return null;
  const [t_us, x_m, y_m, spread_m] = last;
  return html`<g class="track">
    <title>${t.map.lastAt(track.label, format.hourMinuteSecond(t_us, tz))}</title>
    ${stretchesOf(track).map((points) => html`<polyline key=${points[0][0]} points=${points.map(([, x, y]) => `${px(x)},${py(y)}`).join(" ")} />`)}
    <circle class="spread" cx=${px(x_m)} cy=${py(y_m)} r=${Math.max(4, spread_m * scale)} />
    <circle class="last" cx=${px(x_m)} cy=${py(y_m)} r="4" />
    <text x=${Math.max(px(x_m), px(0) + track.label.length * LETTER / 2)} y=${py(y_m) - 9}>${track.label}</text>
  </g>`;
}

/** A track where it was heard: a line over a time without a position would claim a way that nobody saw. @param {Track} track */
function stretchesOf({ points }) {
  const starts = points.flatMap((point, i) => (i === 0 || point[0] - points[i - 1][0] > GAP_US ? [i] : []));
  return starts.map((start, i) => points.slice(start, starts[i + 1]));
}
