// Parts of the console used on several of its pages.
import { ApiError } from "../shared/api.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Notice } from "../shared/parts.js";
import { RANGES } from "./ranges.js";
import { t } from "./strings.js";

/** @typedef {import("./ranges.js").RangeId} RangeId */

/** What to tell a person about a failed request. @param {ApiError} error */
export function errorText(error) {
  const text = t.errors[error.kind];
  const detailed = error.kind === "refused" || error.kind === "broken" || error.kind === "missing";
  return detailed && error.message ? `${text} ${error.message}` : text;
}

/** @param {{error: ApiError, onRetry: () => void}} props */
export function Failed({ error, onRetry }) {
  const tone = error.kind === "forbidden" ? "warn" : "bad";
  const action = error.kind === "forbidden" ? undefined : t.errors.retry;
  return html`<${Notice} tone=${tone} action=${action} onAction=${onRetry}>${errorText(error)}<//>`;
}

/** A count, or "<5" with the reason where it is withheld. @param {{n: number | null, less_than?: number | null}} props */
export function Few({ n, less_than }) {
  if (n !== null) return format.count(n);
  if (!less_than) return t.zones.none;
  return html`<span class="few" tabindex="0" title=${t.few.why(less_than)}
    ><span aria-hidden="true">${t.few.short(less_than)}</span><span class="sr">${t.few.long(less_than)}</span></span>`;
}

/**
 * One choice out of a few, as radio buttons.
 * @param {{name: string, legend: string, value: string, onChange: (value: string) => void,
 *   options: {value: string, label: string}[]}} props
 */
export function Segments({ name, legend, value, onChange, options }) {
  return html`<fieldset class="segments">
    <legend class="sr">${legend}</legend>
    ${options.map((option) => html`<label key=${option.value}>
      <input type="radio" name=${name} value=${option.value} checked=${option.value === value}
        onChange=${() => onChange(option.value)} />
      <span>${option.label}</span>
    </label>`)}
  </fieldset>`;
}

/** @param {{value: RangeId, onChange: (range: RangeId) => void}} props */
export function RangePicker({ value, onChange }) {
  return html`<${Segments} name="range" legend=${t.ranges.legend} value=${value} onChange=${onChange}
    options=${RANGES.map((range) => ({ value: range, label: t.ranges[range] }))} />`;
}

/** Rows of grey while something loads. @param {{rows?: number}} props */
export function Loading({ rows = 4 }) {
  return html`<div class="loading" aria-busy="true">
    ${Array.from({ length: rows }, (_, i) => html`<span key=${i} class="skeleton"></span>`)}
  </div>`;
}
