// The visits list: one row a visit, with the receipt that was joined and why.
import { get } from "../shared/api.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Bar, Empty } from "../shared/parts.js";
import { useResource } from "../shared/resource.js";
import { Failed, Loading } from "./parts.js";
import { t } from "./strings.js";

/** @typedef {import("./types.js").Visit} Visit */
/** @typedef {import("./types.js").Plan} Plan */

const LIMIT = 50;

/** @param {{plan: Plan}} props */
export function VisitsPage({ plan }) {
  const visits = useResource(`visits ${plan.store}`, (signal) => loadVisits(plan.store, signal), 15);
  const names = new Map(plan.zones.map((zone) => [zone.zone, zone.name]));
  return html`<section class="card">
    ${visits.error && html`<div class="inset"><${Failed} error=${visits.error} onRetry=${visits.reload} /></div>`}
    ${visits.loading && html`<${Loading} rows=${8} />`}
    ${visits.data?.length === 0 && html`<${Empty} icon="visits" title=${t.visits.empty} text=${t.visits.emptyText} />`}
    ${visits.data && visits.data.length > 0 && html`
      <ul class="visits">${visits.data.map((visit) => html`<${VisitRow} key=${visit.visit_id} visit=${visit} names=${names} tz=${plan.tz} />`)}</ul>
      ${visits.data.length >= LIMIT && html`<p class="footnote muted small">${t.visits.newest(LIMIT)}</p>`}`}
  </section>`;
}

/** @param {string} store @param {AbortSignal} signal @returns {Promise<Visit[]>} */
function loadVisits(store, signal) {
  return get(`/v1/stores/${encodeURIComponent(store)}/visits?limit=${LIMIT}`, signal);
}

/** @param {{visit: Visit, names: Map<string, string>, tz: string}} props */
function VisitRow({ visit, names, tz }) {
  return html`<li class="visit">
    <div class="visit-when">
      <strong>${format.hourMinute(visit.started_us, tz)}</strong>
      <span class="muted small">${format.day(visit.started_us, tz)}</span>
    </div>
    <div class="visit-who">
      <span>${visit.member ? html`<code>${visit.member}</code>` : html`<span class="muted">${t.visits.anonymous}</span>`}</span>
      ${visit.ended_us === null
        ? html`<span class="pill good">${t.visits.inStore}</span>`
        : html`<span class="muted small">${format.duration((visit.ended_us - visit.started_us) / 1e6)}</span>`}
    </div>
    <ul class="path" aria-label=${t.visits.path}>
      ${visit.zones.map((zone, i) => html`<li key=${i}>${names.get(zone.zone) ?? zone.zone} <span class="muted">${format.duration(zone.dwell_s)}</span></li>`)}
    </ul>
    <div class="visit-receipt">
      ${visit.receipt
        ? html`<strong>${format.money(visit.receipt.total, visit.receipt.currency)}</strong>
          <span class="sure small"><${Bar} share=${visit.receipt.confidence} />
            ${t.visits.confidence(format.percent(visit.receipt.confidence))}</span>
          <span class="muted small">${visit.receipt.reason}</span>`
        : html`<span class="muted small">${t.visits.noReceipt}</span>`}
    </div>
  </li>`;
}
