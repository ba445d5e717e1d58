// A lift and its interval as one line: where zero is, where the interval lies.
import { useRef } from "preact/hooks";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { useWidth } from "../shared/parts.js";
import { t } from "./strings.js";

const HEIGHT = 76;
const EDGE = 28;

/** @param {{lift: number, low: number, high: number}} props all in percentage points */
export function Interval({ lift, low, high }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const width = Math.max(160, useWidth(box, 320));
  const reach = 1.12 * Math.max(Math.abs(low), Math.abs(high), 1);
  /** @param {number} value */
  const x = (value) => EDGE + ((value + reach) / (2 * reach)) * (width - 2 * EDGE);
  const tone = low > 0 ? "good" : high < 0 ? "bad" : "open";
  return html`<div ref=${box}><svg class="interval ${tone}" width=${width} height=${HEIGHT} viewBox="0 0 ${width} ${HEIGHT}" role="img"
    aria-label=${t.campaigns.intervalLabel(format.signed(lift), format.signed(low), format.signed(high))}>
    <line class="axis" x1=${EDGE} x2=${width - EDGE} y1="38" y2="38" />
    <line class="zero" x1=${x(0)} x2=${x(0)} y1="14" y2="56" />
    <text class="zero-text" x=${x(0)} y="72">${t.campaigns.noEffect}</text>
    <rect x=${x(low)} y="31" width=${Math.max(2, x(high) - x(low))} height="14" rx="7" />
    <circle cx=${x(lift)} cy="38" r="9" />
    <text x=${x(low)} y="22">${format.signed(low)}</text>
    <text x=${x(high)} y="22">${format.signed(high)}</text>
  </svg></div>`;
}
