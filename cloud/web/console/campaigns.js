// Campaigns: the list, and the result page that leads with lift and its interval.
import { useState } from "preact/hooks";
import { ApiError, get, send } from "../shared/api.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Bar, Empty, Icon, Notice } from "../shared/parts.js";
import { useResource } from "../shared/resource.js";
import { Funnel } from "./chart.js";
import { Interval } from "./interval.js";
import { Failed, Loading, errorText } from "./parts.js";
import { hrefOf } from "./route.js";
import { campaignStates, refusals, t } from "./strings.js";

/** @typedef {import("./types.js").Campaign} Campaign */
/** @typedef {import("./types.js").Result} Result */
/** @typedef {import("./types.js").Arm} Arm */
/** @typedef {import("./types.js").Plan} Plan */

/** Below this many decisions in a group the page says that figures are uncertain, whatever the interval. */
const SMALL_GROUP = 100;

/** @param {{plan: Plan, what: string, roles: string[]}} props */
export function CampaignsPage({ plan, what, roles }) {
  const list = useResource("campaigns", loadCampaigns, 30);
  const here = list.data?.filter((campaign) => campaign.store === plan.store) ?? [];
  const one = here.find((campaign) => campaign.campaign === what);
  if (list.error) return html`<${Failed} error=${list.error} onRetry=${list.reload} />`;
  if (list.loading) return html`<section class="card"><${Loading} /></section>`;
  if (one) return html`<${ResultPage} key=${one.campaign} campaign=${one} plan=${plan} roles=${roles} onChange=${list.reload} />`;
  if (here.length === 0) {
    return html`<section class="card"><${Empty} icon="campaigns" title=${t.campaigns.empty} text=${t.campaigns.emptyText} /></section>`;
  }
  return html`<ul class="campaigns">${here.map((campaign) => html`<li key=${campaign.campaign}>
    <a class="card pad campaign" href=${hrefOf(plan.store, "campaigns", campaign.campaign)}>
      <span class="campaign-head"><h2>${campaign.name}</h2><${State} state=${campaign.state} /></span>
      <span class="muted">${ruleText(campaign, plan)}</span>
      <${Glance} campaign=${campaign.campaign} />
    </a></li>`)}</ul>`;
}

/** @param {AbortSignal} signal @returns {Promise<Campaign[]>} */
const loadCampaigns = (signal) => get("/v1/campaigns", signal);

/** @param {string} campaign @param {AbortSignal} signal @returns {Promise<Result>} */
const loadResult = (campaign, signal) => get(`/v1/campaigns/${encodeURIComponent(campaign)}/result`, signal);

/** @param {Campaign} campaign @param {Plan} plan */
function ruleText(campaign, plan) {
  const zone = plan.zones.find((one) => one.zone === campaign.zone)?.name ?? campaign.zone;
  return [
    t.campaigns.rule(zone, format.durationWords(campaign.dwell_s)),
    campaign.segment ? t.campaigns.audience(campaign.segment) : t.campaigns.everyone,
    t.campaigns.control(format.percent(campaign.control_share)),
  ].join(" · ");
}

/** @param {{state: string | undefined}} props */
function State({ state }) {
  if (!state) return null;
  const running = state === "running" || state === "started";
  return html`<span class="pill ${running ? "good" : ""}">${campaignStates[state] ?? state}</span>`;
}

/** The one figure on a campaign's card in the list. @param {{campaign: string}} props */
function Glance({ campaign }) {
  const result = useResource(`glance ${campaign}`, (signal) => loadResult(campaign, signal));
  const { data } = result;
  if (!data) return html`<span class="glance"><span class="skeleton"></span></span>`;
  const enough = Math.min(data.target.n, data.control.n) >= SMALL_GROUP || data.verdict !== "unknown";
  const known = enough && data.lift_pp !== null && data.ci_low_pp !== null && data.ci_high_pp !== null;
  return html`<span class="glance">
    <strong>${known ? `${format.signed(data.lift_pp ?? 0)} ${t.campaigns.ppShort}` : t.campaigns.tooEarly}</strong>
    <span class="muted small">${known ? t.campaigns.interval(format.signed(data.ci_low_pp ?? 0), format.signed(data.ci_high_pp ?? 0)) : ""}</span>
  </span>`;
}

/** @param {{campaign: Campaign, plan: Plan, roles: string[], onChange: () => void}} props */
function ResultPage({ campaign, plan, roles, onChange }) {
  const result = useResource(`result ${campaign.campaign}`, (signal) => loadResult(campaign.campaign, signal), 10);
  return html`<div class="result">
    <a class="back" href=${hrefOf(plan.store, "campaigns")}><${Icon} name="back" />${t.campaigns.back}</a>
    <header class="result-head">
      <div><h2 class="result-name">${campaign.name} <${State} state=${campaign.state} /></h2><p class="muted">${ruleText(campaign, plan)}</p></div>
      <${Switch} campaign=${campaign} roles=${roles} onChange=${onChange} />
    </header>
    ${result.error && html`<${Failed} error=${result.error} onRetry=${result.reload} />`}
    ${result.loading && html`<section class="card"><${Loading} /></section>`}
    ${result.data && (result.data.decided === 0 && Object.keys(result.data.refused).length === 0
      ? html`<section class="card"><${Empty} icon="lift" title=${t.campaigns.noDecision} text=${t.campaigns.noDecisionText} /></section>`
      : html`<${Figures} result=${result.data} />`)}
  </div>`;
}

/** Start or stop, for those who may. @param {{campaign: Campaign, roles: string[], onChange: () => void}} props */
function Switch({ campaign, roles, onChange }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  if (!campaign.state || !roles.some((role) => role === "marketer" || role === "admin")) return null;
  const running = campaign.state === "running" || campaign.state === "started";
  async function change() {
    setBusy(true);
    setError(null);
    try {
      await send("POST", `/v1/campaigns/${encodeURIComponent(campaign.campaign)}/${running ? "stop" : "start"}`);
      onChange();
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught;
      setError(caught);
    } finally {
      setBusy(false);
    }
  }
  return html`<div class="switch-campaign">
    <button class="button ${running ? "" : "primary"}" type="button" disabled=${busy} onClick=${change}>${running ? t.campaigns.stop : t.campaigns.start}</button>
    ${error && html`<span role="alert" class="small">${errorText(error)}</span>`}
  </div>`;
}

/** @param {{result: Result}} props */
function Figures({ result }) {
  const stages = [
    { name: t.campaigns.decided, value: result.decided },
    { name: t.campaigns.sent, value: result.sent },
    { name: t.campaigns.shown, value: result.shown },
    { name: t.campaigns.used, value: result.used },
  ];
  return html`
    <section class="card pad lead"><${Lift} result=${result} /></section>
    <div class="two">
      <section class="card pad">
        <h3>${t.campaigns.funnel}</h3>
        <${Funnel} stages=${stages} label=${`${t.campaigns.funnelLabel}: ${stages.map((one) => `${one.name} ${one.value}`).join(", ")}`} />
      </section>
      <section class="card pad">
        <h3>${t.campaigns.ghostsTitle}</h3>
        <p class="ghosts">${t.campaigns.ghosts(format.count(result.ghosts))}</p>
        <h3>${t.campaigns.refused}</h3>
        <${Refusals} refused=${result.refused} />
      </section>
    </div>`;
}

/** @param {{result: Result}} props */
function Lift({ result }) {
  const { lift_pp, ci_low_pp, ci_high_pp, target, control } = result;
  const known = lift_pp !== null && ci_low_pp !== null && ci_high_pp !== null;
  const small = Math.min(target.n, control.n) < SMALL_GROUP;
  return html`
    <div class="lead-figure">
      <h3 class="eyebrow">${t.campaigns.lift}</h3>
      ${known
        ? html`<p class="lift" data-testid="lift">${format.signed(lift_pp)} <small>${t.campaigns.pp}</small></p>
          <p>${t.campaigns.interval(format.signed(ci_low_pp), format.signed(ci_high_pp))}</p>`
        : html`<p class="lift none">${t.campaigns.noLift}</p><p class="muted">${t.campaigns.noLiftText}</p>`}
      ${result.verdict && html`<p class="verdict">${result.verdict}</p>`}
      ${result.note && html`<p class="muted small">${result.note}</p>`}
    </div>
    <div class="lead-detail">
      ${known && html`<${Interval} lift=${lift_pp} low=${ci_low_pp} high=${ci_high_pp} />`}
      <div class="scroll"><table>
        <thead><tr><th scope="col">${t.campaigns.group}</th><th scope="col" class="number">${t.campaigns.people}</th>
          <th scope="col" class="number">${t.campaigns.bought}</th><th scope="col" class="number">${t.campaigns.rate}</th></tr></thead>
        <tbody><${ArmRow} name=${t.campaigns.target} arm=${target} /><${ArmRow} name=${t.campaigns.controlGroup} arm=${control} /></tbody>
      </table></div>
      ${known && ci_low_pp <= 0 && ci_high_pp >= 0
        ? html`<${Notice} tone="warn">${t.campaigns.unsure}<//>`
        : small && html`<${Notice} tone="warn">${t.campaigns.small}<//>`}
    </div>`;
}

/** @param {{name: string, arm: Arm}} props */
function ArmRow({ name, arm }) {
  return html`<tr><th scope="row">${name}</th><td class="number">${format.count(arm.n)}</td>
    <td class="number">${format.count(arm.bought)}</td>
    <td class="number">${arm.rate === null || arm.n === 0 ? t.zones.none : format.percent(arm.rate)}</td></tr>`;
}

/** @param {{refused: Record<string, number>}} props */
function Refusals({ refused }) {
  const rows = Object.entries(refused).sort(([, a], [, b]) => b - a);
  if (rows.length === 0) return html`<p class="muted">${t.campaigns.noneRefused}</p>`;
  const most = Math.max(...rows.map(([, n]) => n));
  return html`<dl class="refusals">${rows.map(([reason, n]) => html`<div key=${reason}>
    <dt>${refusals[reason] ?? reason.replaceAll("_", " ")}</dt>
    <dd><${Bar} share=${n / most} />${format.count(n)}</dd>
  </div>`)}</dl>`;
}
