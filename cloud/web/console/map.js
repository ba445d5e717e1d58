// The map page: who is where now, and where people were, step by step.
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, withQuery } from "../shared/api.js";
import { nowUs } from "../shared/clock.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Bar, Empty, Icon, useDark } from "../shared/parts.js";
import { useResource } from "../shared/resource.js";
import { Crowd } from "./crowd.js";
import { FloorPlan } from "./floor.js";
import { gridPath, keptGrid, loadGrid } from "./grids.js";
import { colourTable } from "./heat.js";
import { Failed, Few, RangePicker, Segments } from "./parts.js";
import { spanOf, stepsOf, whileOpen } from "./ranges.js";
import { t } from "./strings.js";

/** @typedef {import("./types.js").Plan} Plan */
/** @typedef {import("./types.js").Now} Now */
/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./types.js").Track} Track */
/** @typedef {import("./types.js").NodeRow} NodeRow */
/** @typedef {import("./grids.js").Drawn} Drawn */
/** @typedef {import("./grids.js").Layer} Layer */
/** @typedef {import("./ranges.js").RangeId} RangeId */
/** @typedef {import("../shared/sse.js").Link} Link */

/** How often a period that ends now is drawn anew, seconds. */
const REFRESH_S = 20;
/** How long one step is shown while playing, milliseconds. */
const PLAY_MS = 650;
/** Steps loaded at once when somebody starts to look at steps. */
const LANES = 3;
/** Where "all" has to guess: days looked back when the service does not say where its data begins. */
const GUESSED_DAYS = 7;

/** @type {Layer[]} */
const LAYERS = ["presence", "stops", "dwell"];
const FORMATS = ["png", "csv", "geojson"];

/** @typedef {{plan: Plan, roles: string[], now: Now | undefined, link: Link, range: RangeId, onRange: (range: RangeId) => void}} MapProps */

/** @param {MapProps} props */
export function MapPage({ plan, roles, now, link, range, onRange }) {
  const [floorId, setFloorId] = useState(plan.floors[0]?.floor ?? "");
  const [layers, setLayers] = useState({ heat: true, names: true, nodes: true, tracks: true });
  const [strength, setStrength] = useState(0.85);
  const [layer, setLayer] = useState(/** @type {Layer} */ ("presence"));
  const [chosen, setChosen] = useState(/** @type {string | null} */ (null));
  const [point, setPoint] = useState(/** @type {{x_m: number, y_m: number, value: number} | null} */ (null));
  const floor = plan.floors.find((one) => one.floor === floorId) ?? plan.floors[0];
  const period = usePeriod(plan, range, floor?.floor ?? "", layer);
  const nodes = useResource(`nodes ${plan.store}`, (signal) => get(`/v1/stores/${encodeURIComponent(plan.store)}/nodes`, signal), 15);
  const shown = period.shown;
  const tracks = useResource(shown && maySeeTracks(roles) ? JSON.stringify([plan.store, shown]) : null, (signal) => loadTracks(plan.store, /** @type {Span} */ (shown), signal));
  // Counts of now stand on the plan only while the plan shows a period that ends now.
  const present = endsNow(range) && period.at === null;
  const counts = useMemo(() => new Map(present ? now?.zones.map((zone) => [zone.zone, zone]) : []), [now, present]);

  if (!floor) return html`<${Empty} icon="map" title=${t.noPlan.title} text=${t.noPlan.text} />`;
  const area = layer === "dwell" ? 1 : floor.cell_m ** 2;
  const unit = unitFor(layer, period.top / area);
  return html`<div class="map-page">
    <section class="card map-card" aria-label=${t.titles.map}>
      <div class="toolbar">
        <${RangePicker} value=${range} onChange=${onRange} />
        <${Segments} name="layer" legend=${t.map.layer} value=${layer} onChange=${setLayer}
          options=${LAYERS.map((one) => ({ value: one, label: t.map.layers_[one] }))} />
        ${plan.floors.length > 1 && html`<${Segments} name="floor" legend=${t.map.floor} value=${floor.floor} onChange=${setFloorId}
          options=${plan.floors.map((one) => ({ value: one.floor, label: one.name }))} />`}
        <span class="grow"></span>
        <${Legend} layer=${layer} unit=${unit} top=${period.top / area} shown=${layers.heat && period.top > 0} />
      </div>
      ${period.error && html`<div class="inset"><${Failed} error=${period.error} onRetry=${period.reload} /></div>`}
      <div class="stage">
        <${FloorPlan} plan=${plan} floor=${floor} tz=${plan.tz} grid=${period.grid} top=${period.top} strength=${strength} layers=${layers}
          nodes=${/** @type {NodeRow[] | undefined} */ (nodes.data) ?? []} tracks=${tracks.data ?? []} counts=${counts}
          chosen=${chosen} onChoose=${setChosen} onPoint=${setPoint} />
        <${StageNote} layer=${layer} grid=${period.grid} loading=${period.loading} tracks=${layers.tracks && (tracks.data ?? []).length > 0} />
        <p class="readout small" aria-hidden="true">${point && layers.heat && period.grid && !period.grid.meta.suppressed
          ? `${t.map.at(format.decimal(point.x_m), format.decimal(point.y_m))} · ${format.rough(point.value / area / unit.divisor)} ${unit.name}`
          : ""}</p>
      </div>
      ${layer === "presence" && html`<${Timeline} period=${period} tz=${plan.tz} />`}
      ${period.grid && html`<${Standing} meta=${period.grid.meta} tz=${plan.tz} path=${gridPath.bind(null, plan.store, floor.floor, layer, period.shown ?? period.span)} />`}
      <${Layers} layers=${layers} onLayers=${setLayers} strength=${strength} onStrength=${setStrength} tracks=${(tracks.data ?? []).length > 0} />
    </section>
    <${NowPanel} plan=${plan} now=${now} link=${link} chosen=${chosen} onChoose=${setChosen} />
  </div>`;
}

/** A longer track is a scribble: of a long period its last part is drawn. */
const LONGEST_TRACK_US = 15 * 60e6;

/** @param {string} store @param {Span} span @param {AbortSignal} signal @returns {Promise<Track[]>} */
function loadTracks(store, span, signal) {
  return get(withQuery(`/v1/stores/${encodeURIComponent(store)}/tracks`, {
    from_us: Math.round(Math.max(span.from_us, span.to_us - LONGEST_TRACK_US)), to_us: Math.round(span.to_us),
  }), signal);
}

/**
 * The chosen period: its whole grid, or one of its steps. Steps share one scale, so that colours can be compared.
 * @param {Plan} plan @param {RangeId} range @param {string} floor @param {Layer} layer
 */
function usePeriod(plan, range, floor, layer) {
  const [turn, setTurn] = useState(0);
  const [step, setStep] = useState(/** @type {number | null} */ (null));
  const [playing, setPlaying] = useState(false);
  const [stepGrid, setStepGrid] = useState(/** @type {{key: string, grid: Drawn} | null} */ (null));
  const [stepTop, setStepTop] = useState(0);
  // A period that ends now moves along with time, unless somebody is stepping through it.
  const steady = useMemo(() => spanOf(range, nowUs(), plan, null), [range, plan.store, turn]);
  const whole = useResource(JSON.stringify([plan.store, floor, layer, range, turn]), (signal) => loadGrid(plan.store, floor, layer, steady, signal));
  const last = useRef(/** @type {{key: string, grid: Drawn} | null} */ (null));
  const key = JSON.stringify([plan.store, floor, layer, range]);
  if (whole.data) last.current = { key, grid: whole.data };
  const wholeGrid = whole.data ?? (last.current?.key === key ? last.current.grid : null);

  const span = useMemo(() => {
    if (range !== "all" || !wholeGrid) return steady;
    const first_us = wholeGrid.meta.from_us > 0 ? wholeGrid.meta.from_us : steady.to_us - GUESSED_DAYS * 86400e6;
    return { from_us: first_us, to_us: steady.to_us };
  }, [steady, wholeGrid]);
  const { steps, step_s } = useMemo(() => stepsOf(range === "today" || range === "yesterday" ? whileOpen(span, plan) : span), [span, range]);
  const at = step === null ? null : Math.min(step, steps.length - 1);

  useEffect(() => { setStep(null); setPlaying(false); }, [key]);
  useEffect(() => {
    if (step !== null || !endsNow(range)) return;
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") setTurn((old) => old + 1);
    }, REFRESH_S * 1000);
    return () => clearInterval(timer);
  }, [step === null, range]);

  const stepping = at !== null;
  useEffect(() => {
    if (!stepping) return;
    let left = false;
    const queue = [...steps];
    setStepTop(0);
    /** One of a few lanes that fetch every step in order. */
    async function lane() {
      for (let next = queue.shift(); next && !left; next = queue.shift()) {
        try {
          const grid = await keptGrid(plan.store, floor, layer, next);
          if (!left) setStepTop((old) => Math.max(old, grid.top));
        } catch {
          return; // The step's own request tells the person, when it is looked at.
        }
      }
    }
    for (let i = 0; i < LANES; i++) void lane();
    return () => { left = true; };
  }, [stepping, steps, floor, layer]);

  const current = at === null ? null : steps[at];
  useEffect(() => {
    if (!current) return;
    let left = false;
    keptGrid(plan.store, floor, layer, current).then((grid) => {
      if (!left) setStepGrid({ key: JSON.stringify(current), grid });
    }, () => {});
    return () => { left = true; };
  }, [current, floor, layer]);

  const loaded = current !== null && stepGrid?.key === JSON.stringify(current);
  useEffect(() => {
    if (!playing || !loaded || at === null) return;
    const timer = setTimeout(() => {
      if (at + 1 < steps.length) setStep(at + 1);
      else setPlaying(false);
    }, PLAY_MS);
    return () => clearTimeout(timer);
  }, [playing, loaded, at, steps]);

  const reload = useCallback(() => setTurn((old) => old + 1), []);
  const grid = at === null ? wholeGrid : (stepGrid?.grid ?? null);
  return {
    span, steps, step_s, at, playing, grid, reload,
    shown: current ?? (wholeGrid ? span : null),
    top: at === null ? (wholeGrid?.top ?? 0) : stepTop,
    loading: at === null ? whole.loading && !wholeGrid : !loaded,
    error: whole.error,
    setStep,
    play() {
      if (at === null || at === steps.length - 1) setStep(0);
      setPlaying(true);
    },
    pause: () => setPlaying(false),
    showWhole() { setPlaying(false); setStep(null); },
  };
}

/** @typedef {ReturnType<typeof usePeriod>} Period */

/** @param {{period: Period, tz: string}} props */
function Timeline({ period, tz }) {
  const { steps, at, span } = period;
  const current = at === null ? span : steps[at];
  const text = format.span(current.from_us, current.to_us, tz);
  /** @param {Event} event */
  function slide(event) {
    period.pause();
    period.setStep(Number(/** @type {HTMLInputElement} */ (event.currentTarget).value));
  }
  return html`<div class="timeline">
    <button class="button square" type="button" disabled=${steps.length < 2} aria-label=${period.playing ? t.map.pause : t.map.play}
      title=${period.playing ? t.map.pause : t.map.play} onClick=${period.playing ? period.pause : period.play}>
      <${Icon} name=${period.playing ? "pause" : "play"} />
    </button>
    <div class="slider">
      <div class="slider-head">
        <strong>${text}</strong>
        <span class="muted small">${at === null ? t.map.wholePeriod : t.map.step(format.durationWords(period.step_s))}</span>
      </div>
      <input type="range" min="0" max=${Math.max(0, steps.length - 1)} step="1" value=${at ?? Math.max(0, steps.length - 1)}
        disabled=${steps.length < 2} aria-label=${t.map.time} aria-valuetext=${text} onInput=${slide} />
    </div>
    <button class="button" type="button" disabled=${at === null} onClick=${period.showWhole}>${t.map.wholePeriod}</button>
  </div>`;
}

/**
 * Whom the map stands for and how far it is told, and the same numbers to take along.
 * @param {{meta: import("./types.js").GridMeta, tz: string, path: (format: string) => string}} props
 */
function Standing({ meta, tz, path }) {
  const { panel_share, panel_low, panel_high, weight, told_until_us } = meta;
  const known = panel_share !== null && panel_low !== null && panel_high !== null && weight !== null;
  return html`<div class="standing small muted">
    <p>${known ? t.map.panel(format.percent(panel_share), format.percent(panel_low), format.percent(panel_high), format.decimal(weight)) : t.map.noPanel}</p>
    ${told_until_us !== null && told_until_us < meta.to_us && html`<p>${t.map.toldUntil(format.dayTime(told_until_us, tz))}</p>`}
    <p>${t.map.save} ${FORMATS.map((one) => html` <a key=${one} href=${path(one)} download>${one.toUpperCase()}</a>`)}</p>
  </div>`;
}

/** @param {string[]} roles */
function maySeeTracks(roles) {
  return roles.some((role) => role === "analyst" || role === "technician" || role === "admin");
}

/** @param {{layer: Layer, grid: Drawn | null, loading: boolean, tracks: boolean}} props */
function StageNote({ layer, grid, loading, tracks }) {
  if (loading) return html`<p class="stage-note muted" role="status">${t.map.loading}</p>`;
  if (!grid) return null;
  if (grid.meta.suppressed) {
    return html`<div class="stage-note" role="status"><strong>${t.map.suppressed}</strong>${t.map.suppressedText(grid.meta.k)}</div>`;
  }
  if (grid.top <= 0 && layer !== "presence") {
    return html`<div class="stage-note" role="status"><strong>${t.map.notTold}</strong>${t.map.notToldText}</div>`;
  }
  if (grid.top <= 0 && !tracks) return html`<div class="stage-note" role="status"><strong>${t.map.blank}</strong>${t.map.blankText}</div>`;
  return null;
}

/**
 * @param {{layers: Record<string, boolean>, onLayers: (layers: any) => void, strength: number,
 *   onStrength: (strength: number) => void, tracks: boolean}} props
 */
function Layers({ layers, onLayers, strength, onStrength, tracks }) {
  const names = /** @type {const} */ (["heat", "names", "nodes", ...(tracks ? ["tracks"] : [])]);
  return html`<fieldset class="layers">
    <legend class="sr">${t.map.layers}</legend>
    ${names.map((name) => html`<label key=${name} class="check">
      <input type="checkbox" checked=${layers[name]} onChange=${() => onLayers({ ...layers, [name]: !layers[name] })} />
      ${t.map[/** @type {"heat" | "names" | "nodes" | "tracks"} */ (name)]}
    </label>`)}
    <label class="check strength">${t.map.opacity}
      <input type="range" min="0.2" max="1" step="0.05" value=${strength} disabled=${!layers.heat}
        onInput=${(/** @type {Event} */ event) => onStrength(Number(/** @type {HTMLInputElement} */ (event.currentTarget).value))} />
    </label>
  </fieldset>`;
}

/** @param {RangeId} range */
function endsNow(range) {
  return range === "today" || range === "all";
}

/** The unit in which the strongest value reads well. @param {Layer} layer @param {number} top_s seconds, per m² if of presence */
function unitFor(layer, top_s) {
  if (layer === "stops") return { name: t.map.stopsPerArea, divisor: 1 };
  if (layer === "dwell") return top_s >= 120 ? { name: t.map.mean.minutes, divisor: 60 } : { name: t.map.mean.seconds, divisor: 1 };
  if (top_s >= 2 * 3600) return { name: t.map.perArea.hours, divisor: 3600 };
  return top_s >= 120 ? { name: t.map.perArea.minutes, divisor: 60 } : { name: t.map.perArea.seconds, divisor: 1 };
}

/** @param {{layer: Layer, unit: {name: string, divisor: number}, top: number, shown: boolean}} props */
function Legend({ layer, unit, top, shown }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const dark = useDark();
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (context) context.putImageData(new ImageData(new Uint8ClampedArray(colourTable(dark)), 256, 1), 0, 0);
  }, [dark, shown]);
  if (!shown) return null;
  // Colours follow the square root: the middle of the bar is a quarter of its end.
  return html`<figure class="legend">
    <figcaption>${t.map.legendUnit(t.map.layers_[layer], unit.name)}</figcaption>
    <canvas ref=${canvas} width="256" height="1" aria-hidden="true"></canvas>
    <span class="ticks"><span>0</span><span>${format.rough(top / unit.divisor / 4)}</span><span>${format.rough(top / unit.divisor)}</span></span>
  </figure>`;
}

/**
 * @param {{plan: Plan, now: Now | undefined, link: Link, chosen: string | null,
 *   onChoose: (zone: string | null) => void}} props
 */
function NowPanel({ plan, now, link, chosen, onChoose }) {
  const few = now && [now.people, ...now.zones].find((one) => one.n === null && one.less_than)?.less_than;
  const most = Math.max(1, ...(now?.zones.map((zone) => zone.n ?? 0) ?? []));
  return html`<aside class="card now" aria-label=${t.map.peopleNow}>
    <div class="now-head">
      <h2 class="eyebrow">${t.map.peopleNow}</h2>
      <${LinkPill} link=${link} />
    </div>
    ${!now && html`<p class="muted" role="status">${t.map.waiting}</p>`}
    ${now && html`<p class="big"><span data-testid="people"><${Few} ...${now.people} /></span> <small>${t.map.peopleIn}</small></p>
      <p class="muted small">${t.map.nodesOnline(now.nodes_online, now.nodes)} · ${t.live.asOf(format.hourMinuteSecond(now.at_us, plan.tz))}</p>
      <h3 class="eyebrow by-zone">${t.map.byZone}</h3>
      <ul class="zone-list">
        ${plan.zones.filter((zone) => now.zones.some((one) => one.zone === zone.zone)).map((zone) => {
          const counted = now.zones.find((one) => one.zone === zone.zone) ?? { n: 0 };
          return html`<li key=${zone.zone}><button type="button" aria-pressed=${chosen === zone.zone}
            onClick=${() => onChoose(chosen === zone.zone ? null : zone.zone)}>
            <span class="zone-name">${zone.name}</span>
            <span class="zone-count"><${FewPlain} ...${counted} /></span>
            <${Bar} share=${(counted.n ?? 0) / most} />
          </button></li>`;
        })}
      </ul>`}
    ${few && html`<p class="muted small why">${t.few.note(few)}</p>`}
    <${Crowd} store=${plan.store} tz=${plan.tz} />
  </aside>`;
}

/** As Few, inside something that already takes the focus. @param {{n: number | null, less_than?: number | null}} props */
function FewPlain({ n, less_than }) {
  if (n !== null) return format.count(n);
  if (!less_than) return t.zones.none;
  return html`<span title=${t.few.why(less_than)}><span aria-hidden="true">${t.few.short(less_than)}</span><span class="sr">${t.few.long(less_than)}</span></span>`;
}

/** @param {{link: Link}} props */
function LinkPill({ link }) {
  const tone = link === "live" ? "good" : link === "away" ? "bad" : "warn";
  return html`<span class="pill ${tone}" role="status">${t.live[link]}</span>`;
}
