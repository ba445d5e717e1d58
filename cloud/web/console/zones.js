// The zone table: who came, how long they stayed, how many bought.
import { useMemo, useState } from "preact/hooks";
import { get, withQuery } from "../shared/api.js";
import { nowUs } from "../shared/clock.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Bar, Empty, Icon } from "../shared/parts.js";
import { useResource } from "../shared/resource.js";
import { Failed, Few, Loading, RangePicker } from "./parts.js";
import { spanOf } from "./ranges.js";
import { t, zoneKinds } from "./strings.js";

/** @typedef {import("./types.js").ZoneRow} ZoneRow */
/** @typedef {import("./types.js").Plan} Plan */
/** @typedef {"name" | "kind" | "visits" | "mean_dwell_s" | "median_dwell_s" | "conversion"} Field */
/** @typedef {import("./ranges.js").RangeId} RangeId */

/** @type {{field: Field, label: string, number: boolean}[]} */
const COLUMNS = [
  { field: "name", label: t.zones.zone, number: false },
  { field: "kind", label: t.zones.kind, number: false },
  { field: "visits", label: t.zones.visits, number: true },
  { field: "mean_dwell_s", label: t.zones.mean, number: true },
  { field: "median_dwell_s", label: t.zones.median, number: true },
  { field: "conversion", label: t.zones.conversion, number: true },
];

/** @param {{plan: Plan, range: RangeId, onRange: (range: RangeId) => void}} props */
export function ZonesPage({ plan, range, onRange }) {
  const rows = useResource(`zones ${plan.store} ${range}`, (signal) => loadZones(plan, range, signal), 30);
  return html`<section class="card">
    <div class="toolbar"><${RangePicker} value=${range} onChange=${onRange} /></div>
    ${rows.error && html`<div class="inset"><${Failed} error=${rows.error} onRetry=${rows.reload} /></div>`}
    ${rows.loading && html`<${Loading} rows=${8} />`}
    ${rows.data && (rows.data.length === 0
      ? html`<${Empty} icon="zones" title=${t.zones.empty} text=${t.zones.emptyText} />`
      : html`<${ZoneTable} rows=${rows.data} />`)}
  </section>`;
}

/** @param {Plan} plan @param {RangeId} range @param {AbortSignal} signal @returns {Promise<ZoneRow[]>} */
function loadZones(plan, range, signal) {
  const span = spanOf(range, nowUs(), plan, null);
  return get(withQuery(`/v1/stores/${encodeURIComponent(plan.store)}/zones`, {
    from_us: Math.round(span.from_us), to_us: Math.round(span.to_us),
  }), signal);
}

/** @param {{rows: ZoneRow[]}} props */
function ZoneTable({ rows }) {
  const [sort, setSort] = useState({ field: /** @type {Field} */ ("visits"), down: true });
  const sorted = useMemo(() => [...rows].sort((a, b) => compare(a, b, sort.field) * (sort.down ? -1 : 1)), [rows, sort]);
  const most = Math.max(1, ...rows.map((row) => row.visits ?? 0));
  const few = rows.find((row) => row.visits === null)?.less_than;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t.titles.zones}>
      <table class="zones">
        <thead><tr>${COLUMNS.map(({ field, label, number }) => html`<th key=${field} scope="col" class="${number ? "number" : ""} ${field}"
          aria-sort=${sort.field !== field ? "none" : sort.down ? "descending" : "ascending"}>
          <button class="sort" type="button" onClick=${() => setSort({ field, down: sort.field === field ? !sort.down : number })}>
            ${label}<${Icon} name="down" />
          </button>
        </th>`)}</tr></thead>
        <tbody>${sorted.map((row) => html`<tr key=${row.zone}>
          <th scope="row">${row.name}</th>
          <td class="muted kind">${zoneKinds[row.kind] ?? row.kind}</td>
          <td class="number bar-cell"><${Bar} share=${(row.visits ?? 0) / most} /><${Few} n=${row.visits} less_than=${row.less_than} /></td>
          <td class="number">${row.mean_dwell_s === null ? t.zones.none : format.duration(row.mean_dwell_s)}</td>
          <td class="number">${row.median_dwell_s === null ? t.zones.none : format.duration(row.median_dwell_s)}</td>
          <td class="number">${row.conversion === null ? t.zones.none : format.percent(row.conversion)}</td>
        </tr>`)}</tbody>
      </table>
    </div>
    <p class="footnote muted small">${t.zones.conversionHelp} ${few ? t.few.note(few) : ""}</p>`;
}

/** Withheld numbers sort below all others. @param {ZoneRow} a @param {ZoneRow} b @param {Field} field */
function compare(a, b, field) {
  const [left, right] = [a[field], b[field]];
  if (typeof left === "string" && typeof right === "string") return left.localeCompare(right, format.LOCALE);
  return Number(left ?? -1) - Number(right ?? -1);
}
