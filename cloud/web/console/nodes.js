// The nodes of a store: who is online, how they are, and what could not be stored.
import { useState } from "preact/hooks";
import { ApiError, get, send } from "../shared/api.js";
import { nowUs } from "../shared/clock.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Empty } from "../shared/parts.js";
import { useResource } from "../shared/resource.js";
import { Failed, Loading } from "./parts.js";
import { nodeStates, t } from "./strings.js";

/** @typedef {import("./types.js").NodeRow} NodeRow */
/** @typedef {import("./types.js").Health} Health */
/** @typedef {import("./types.js").DeadLetter} DeadLetter */
/** @typedef {import("./types.js").Plan} Plan */
/** @typedef {import("./types.js").SourceHealth} SourceHealth */
/** @typedef {import("./types.js").ClaimCode} ClaimCode */

/** @param {{plan: Plan, roles: string[]}} props */
export function NodesPage({ plan, roles }) {
  const maySeeDead = roles.some((role) => role === "technician" || role === "analyst" || role === "admin");
  const mayClaim = roles.some((role) => role === "technician" || role === "admin");
  const nodes = useResource(`nodes ${plan.store}`, (signal) => loadNodes(plan.store, signal), 5);
  const zones = new Map(plan.zones.map((zone) => [zone.zone, zone.name]));
  return html`<div class="stack">
    ${nodes.error && html`<${Failed} error=${nodes.error} onRetry=${nodes.reload} />`}
    ${nodes.loading && html`<section class="card"><${Loading} /></section>`}
    ${nodes.data?.length === 0 && html`<section class="card"><${Empty} icon="nodes" title=${t.nodes.empty} text=${t.nodes.emptyText} /></section>`}
    ${nodes.data && nodes.data.length > 0 && html`<ul class="nodes">
      ${nodes.data.map((node) => html`<${NodeCard} key=${node.node} node=${node} zone=${node.zone ? (zones.get(node.zone) ?? node.zone) : null}
        store=${mayClaim ? plan.store : null} />`)}
    </ul>`}
    ${maySeeDead && html`<${DeadLetters} plan=${plan} />`}
  </div>`;
}

/** @param {string} store @param {AbortSignal} signal @returns {Promise<NodeRow[]>} */
const loadNodes = (store, signal) => get(`/v1/stores/${encodeURIComponent(store)}/nodes`, signal);
/** @param {AbortSignal} signal @returns {Promise<DeadLetter[]>} */
const loadDead = (signal) => get("/v1/dead-letters?limit=100", signal);

/** @param {{node: NodeRow, zone: string | null, store: string | null}} props `store`: for whoever may claim the node */
function NodeCard({ node, zone, store }) {
  const { health } = node;
  const tone = node.state === "online" ? "good" : node.state === "offline" ? "bad" : "warn";
  return html`<li class="card pad node-card">
    <header><h2>${node.node}</h2><span class="pill ${tone}">${nodeStates[node.state] ?? node.state}</span></header>
    <p class="muted small">${t.nodes.lastSeen} ${node.last_seen_us === null ? t.nodes.never : format.ago(node.last_seen_us, nowUs())}${zone ? ` · ${zone}` : ""}</p>
    ${health?.mode === "safe" && html`<p class="small alarm">${t.nodes.safe}</p>`}
    ${node.drift && html`<${Drift} node=${node} />`}
    ${health ? html`<${HealthFigures} health=${health} node=${node} />` : html`<p class="small no-health">${t.nodes.noHealth}</p>`}
    ${health?.sources && html`<${Sources} sources=${health.sources} />`}
    ${store !== null && html`<${Claim} store=${store} node=${node.node} />`}
  </li>`;
}

/** What the node was ordered to run and does not. @param {{node: NodeRow}} props */
function Drift({ node }) {
  const age = node.drift_since_us === null ? t.nodes.never : format.ago(node.drift_since_us, nowUs());
  return html`<div class="small alarm"><p>${t.nodes.drift(node.config_desired, String(node.config_running ?? "–"), age)}</p>
    ${node.config_problems.map((problem, i) => html`<p key=${i}><code>${problem}</code></p>`)}</div>`;
}

/** @param {{sources: Record<string, SourceHealth>}} props */
function Sources({ sources }) {
  const names = Object.keys(sources).sort();
  if (names.length === 0) return null;
  return html`<table class="sources"><caption class="small muted">${t.nodes.sources}</caption><tbody>
    ${names.map((name) => html`<${SourceRow} key=${name} name=${name} source=${sources[name]} />`)}
  </tbody></table>`;
}

/** @param {{name: string, source: SourceHealth}} props */
function SourceRow({ name, source }) {
  const states = /** @type {Record<string, string>} */ (t.nodes.sourceStates);
  const tone = source.state === "ok" ? "good" : source.state === "down" ? "bad" : "warn";
  return html`<tr><th scope="row"><code>${name}</code></th><td><span class="pill ${tone}">${states[source.state] ?? source.state}</span></td>
    <td class="small">${t.nodes.source(format.decimal(source.per_s), format.count(source.heard))}${source.detail && html`<br />${source.detail}`}</td></tr>`;
}

/** A one-time code that makes a machine this node. @param {{store: string, node: string}} props */
function Claim({ store, node }) {
  const [claim, setClaim] = useState(/** @type {ClaimCode | null} */ (null));
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  async function ask() {
    setError(null);
    try {
      setClaim(await send("POST", `/v1/stores/${encodeURIComponent(store)}/nodes/${encodeURIComponent(node)}/claim`));
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught;
      setError(caught);
    }
  }
  return html`<div class="claim">
    ${error && html`<${Failed} error=${error} onRetry=${ask} />`}
    ${claim ? html`<p class="small">${t.nodes.claimTitle}</p><p><code>${t.nodes.claimHow(claim.code, location.origin)}</code></p>`
      : html`<button type="button" class="button" onClick=${ask}>${t.nodes.claim}</button>`}
  </div>`;
}

/** @param {{health: Health, node: NodeRow}} props */
function HealthFigures({ health, node }) {
  const waiting = health.outbox_rows > 0;
  return html`<dl class="figures">
    <${Figure} name=${t.nodes.heard} value=${t.nodes.perSecond(format.decimal(health.adverts_per_s))} />
    <${Figure} name=${t.nodes.backlog} value=${waiting ? t.nodes.batches(format.count(health.outbox_rows)) : t.nodes.drained}
      note=${waiting ? t.nodes.oldest(format.duration(health.outbox_oldest_s)) : ""} tone=${health.outbox_oldest_s > 60 ? "warn" : ""} />
    <${Figure} name=${t.nodes.stored} value=${format.count(node.stored_batches)} />
    <${Figure} name=${t.nodes.dropped} value=${format.count(health.dropped)} tone=${health.dropped > 0 ? "bad" : ""} />
    <${Figure} name=${t.nodes.dead} value=${format.count(node.dead_letters)} tone=${node.dead_letters > 0 ? "bad" : ""} />
    <${Figure} name=${t.nodes.reconnects} value=${format.count(health.reconnects)} />
    <${Figure} name=${t.nodes.restarts} value=${format.count(health.restarts)} />
    <${Figure} name=${t.nodes.memory} value=${t.nodes.megabytes(format.decimal(health.rss_mb))} />
    <${Figure} name=${t.nodes.uptime} value=${format.duration(health.uptime_s)} />
    <${Figure} name=${t.nodes.clock} value=${health.clock === "trusted" ? t.nodes.clockTrusted : t.nodes.clockUntrusted} tone=${health.clock === "trusted" ? "" : "warn"} />
    ${health.cert_days != null && html`<${Figure} name=${t.nodes.certDays} value=${t.nodes.days(format.decimal(health.cert_days))} tone=${health.cert_days < 14 ? "warn" : ""} />`}
    ${health.disk_free_mb != null && html`<${Figure} name=${t.nodes.disk} value=${t.nodes.megabytes(format.count(Math.round(health.disk_free_mb)))} tone=${health.disk_free_mb < 200 ? "bad" : ""} />`}
    ${health.temperature_c != null && html`<${Figure} name=${t.nodes.hot} value=${t.nodes.celsius(format.decimal(health.temperature_c))}
      note=${health.throttled ? t.nodes.weak : ""} tone=${health.temperature_c > 80 || health.throttled ? "warn" : ""} />`}
    <${Figure} name=${t.nodes.version} value=${health.version} />
  </dl>`;
}

/** @param {{name: string, value: string, note?: string, tone?: string}} props */
function Figure({ name, value, note, tone = "" }) {
  return html`<div class=${tone}><dt>${name}</dt><dd>${value}${note && html` <span class="small">${note}</span>`}</dd></div>`;
}

/** @param {{plan: Plan}} props */
function DeadLetters({ plan }) {
  const dead = useResource("dead letters", loadDead, 15);
  const mine = dead.data ?? [];
  /** @type {Map<string, DeadLetter[]>} */
  const byReason = new Map();
  for (const letter of mine) byReason.set(letter.reason, [...(byReason.get(letter.reason) ?? []), letter]);
  return html`<section class="card dead">
    <header class="pad"><h2>${t.nodes.deadTitle}</h2><p class="muted small">${dead.data?.length === 0 ? t.nodes.deadNone : t.nodes.deadText}</p></header>
    ${dead.error && html`<div class="inset"><${Failed} error=${dead.error} onRetry=${dead.reload} /></div>`}
    ${[...byReason].map(([reason, letters]) => html`<details key=${reason}>
      <summary><code>${reason}</code> <span class="pill plain">${format.count(letters.length)}</span></summary>
      <div class="scroll"><table>
        <thead><tr><th scope="col">${t.nodes.at}</th><th scope="col">${t.nodes.node}</th><th scope="col">${t.nodes.detail}</th><th scope="col" class="number">${t.nodes.size}</th></tr></thead>
        <tbody>${letters.map((letter, i) => html`<tr key=${i}><td class="nowrap">${format.dayTime(letter.at_us, plan.tz)}</td>
          <td class="nowrap">${letter.node ?? t.zones.none}</td><td>${letter.detail}<br /><code class="muted small">${letter.topic}</code></td>
          <td class="number">${t.nodes.bytes(format.count(letter.bytes))}</td></tr>`)}</tbody>
      </table></div>
    </details>`)}
  </section>`;
}
