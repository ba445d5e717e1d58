// A bar code as SVG: always dark on white, whatever the theme, since scanners read no other.
import { html } from "../shared/html.js";
import { barsOf } from "./code128.js";

const HEIGHT = 40;

/** @param {{text: string, label: string}} props */
export function BarCode({ text, label }) {
  const { bars, width } = barsOf(text);
  const path = bars.map((bar) => `M${bar.x} 0h${bar.width}v${HEIGHT}h-${bar.width}z`).join("");
  return html`<svg class="barcode" viewBox="0 0 ${width} ${HEIGHT}" preserveAspectRatio="none" shape-rendering="crispEdges" role="img" aria-label=${label}>
    <rect width=${width} height=${HEIGHT} fill="#fff" /><path d=${path} fill="#000" />
  </svg>`;
}

/** In groups of four, as people read numbers aloud. @param {string} number */
export function grouped(number) {
  return /^\d+$/.test(number) ? number.replace(/(\d{4})(?=\d)/g, "$1 ") : number;
}
