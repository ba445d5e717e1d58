// How many people are in the store, member or not: an estimate from counts of devices, and the heads that teach it.
import { useState } from "preact/hooks";
import { get, send, withQuery } from "../shared/api.js";
import { nowUs } from "../shared/clock.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { useResource } from "../shared/resource.js";
import { errorText } from "./parts.js";
import { t } from "./strings.js";

/** @typedef {import("./types.js").CrowdReport} CrowdReport */
/** @typedef {import("./types.js").CrowdSlot} CrowdSlot */
/** @typedef {import("../shared/api.js").ApiError} ApiError */

const STEP_S = 300;
/** Nodes tell a span of five minutes when it is over, and some a little later. */
const LOOK_BACK_US = 45 * 60e6;
const REFRESH_S = 60;

/** @param {{store: string, tz: string}} props */
export function Crowd({ store, tz }) {
  const path = `/v1/stores/${encodeURIComponent(store)}/crowd`;
  const crowd = useResource(`crowd ${store}`, (signal) => loadCrowd(path, signal), REFRESH_S);
  const newest = crowd.data?.occupancy.findLast((slot) => slot.estimate !== null || slot.less_than !== null);
  return html`<section class="crowd" aria-label=${t.crowd.title}>
    <h3 class="eyebrow">${t.crowd.title}</h3>
    ${crowd.error && html`<p class="muted small" role="status">${errorText(crowd.error)}</p>`}
    ${crowd.data && (newest
      ? html`<p><strong data-testid="crowd">${about(newest)}</strong> ${t.crowd.of[crowd.data.of]} <span class="muted small">${t.live.asOf(format.hourMinute(newest.at_us, tz))}</span></p>
          ${newest.low !== null && newest.high !== null && html`<p class="muted small">${t.crowd.interval(format.count(Math.round(newest.low)), format.count(Math.round(newest.high)))}</p>`}`
      : html`<p class="muted small">${t.crowd.nothing}</p>`)}
    ${crowd.data?.drift && html`<p class="small warn" role="status">${t.crowd.drift}</p>`}
    <${CountHeads} path=${path} calibrated=${crowd.data?.calibration.calibrated ?? true} onCounted=${crowd.reload} />
  </section>`;
}

/** @param {string} path @param {AbortSignal} signal @returns {Promise<CrowdReport>} */
function loadCrowd(path, signal) {
  const step_us = STEP_S * 1e6;
  const to_us = Math.floor(nowUs() / step_us) * step_us;
  return get(withQuery(path, { from_us: to_us - LOOK_BACK_US, to_us, step: STEP_S }), signal);
}

/** @param {CrowdSlot} slot */
function about(slot) {
  return slot.estimate === null ? t.few.short(slot.less_than ?? 0) : t.crowd.about(format.count(Math.round(slot.estimate)));
}

/** Somebody with a clicker tells how many are in the store at this moment. @param {{path: string, calibrated: boolean, onCounted: () => void}} props */
function CountHeads({ path, calibrated, onCounted }) {
  const [said, setSaid] = useState("");
  /** @param {SubmitEvent} event */
  async function tell(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    try {
      await send("POST", `${path}/counts`, { at_us: Math.round(nowUs()), people: Number(new FormData(form).get("people")) });
      form.reset();
      setSaid(t.crowd.thanks);
      onCounted();
    } catch (error) {
      setSaid(errorText(/** @type {ApiError} */ (error)));
    }
  }
  return html`<form class="count-heads" onSubmit=${tell}>
    <label class="small" for="heads">${calibrated ? t.crowd.count : t.crowd.countFirst}</label>
    <input id="heads" name="people" type="number" inputmode="numeric" min="0" max="100000" required />
    <button class="button" type="submit">${t.crowd.save}</button>
    <p class="muted small" role="status">${said}</p>
  </form>`;
}
