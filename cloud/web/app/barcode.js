// A bar code as SVG: always dark on white, whatever the theme, since scanners read no other.
import { useRef } from "preact/hooks";
import { html } from "../shared/html.js";
import { useWidth } from "../shared/parts.js";
import { barsOf } from "./code128.js";

const HEIGHT = 40;

/** @param {{text: string, label: string}} props */
export function BarCode({ text, label }) {
  const { bars, width } = barsOf(text);
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  // Every module the same whole number of device pixels: uneven bars are what scanners stumble over.
  const pixels = Math.max(1, Math.floor((useWidth(box, 300) * devicePixelRatio) / width)) / devicePixelRatio;
  const path = bars.map((bar) => `M${bar.x} 0h${bar.width}v${HEIGHT}h-${bar.width}z`).join("");
  return html`<div class="barcode" ref=${box}><svg width=${width * pixels} viewBox="0 0 ${width} ${HEIGHT}" preserveAspectRatio="none" shape-rendering="crispEdges" role="img" aria-label=${label}>
    <rect width=${width} height=${HEIGHT} fill="#fff" /><path d=${path} fill="#000" />
  </svg></div>`;
}

/** In groups of four, as people read numbers aloud. @param {string} number */
export function grouped(number) {
  return /^\d+$/.test(number) ? number.replace(/(\d{4})(?=\d)/g, "$1 ") : number;
}
