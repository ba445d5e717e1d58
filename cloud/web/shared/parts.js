// Small parts that both pages use: icons, notices, empty states, the theme button.
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { html } from "./html.js";

/** Drawn on a 24 × 24 grid with strokes only. */
const PATHS = {
  map: "M3 6l6-2 6 2 6-2v14l-6 2-6-2-6 2zM9 4v14M15 6v14",
  zones: "M4 4h7v9H4zM13 4h7v5h-7zM13 11h7v9h-7zM4 15h7v5H4z",
  visits: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  campaigns: "M4 10v4l3 .5L9 20h3l-1.5-5L19 18V6L7 9.5zM19 9.5a2.5 2.5 0 010 5",
  nodes: "M5 15h14v4H5zM8 17h.01M12 15v-4M8.5 8a5 5 0 017 0M6 5.5a8.5 8.5 0 0112 0",
  play: "M7 5l12 7-12 7z",
  pause: "M8 5v14M16 5v14",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1",
  moon: "M20 14.5A8 8 0 019.5 4a8 8 0 1010.5 10.5z",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  info: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 11v5M12 8h.01",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  cloud: "M7 18a4 4 0 01-.5-8A6 6 0 0118 9.5a4.3 4.3 0 01-1 8.5zM4 4l16 16",
  down: "M6 9l6 6 6-6",
  back: "M15 5l-7 7 7 7",
  card: "M3 6h18v12H3zM7 9v6M10 9v6M12.5 9v6M16 9v6",
  inbox: "M4 13l2.5-8h11L20 13v6H4zM4 13h4.5l1.5 2.5h4l1.5-2.5H20",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 017 0v3",
  tag: "M4 4h8l8 8-8 8-8-8zM8.5 8.5h.01",
  lift: "M4 19h16M6 15l4-4 3 3 6-7M19 7h-4M19 7v4",
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {{name: IconName}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

/**
 * @param {{tone?: "info" | "warn" | "bad", children?: import("./html.js").Children,
 *   action?: string, onAction?: () => void}} props
 */
export function Notice({ tone = "info", children, action, onAction }) {
  return html`<div class="notice ${tone}" role=${tone === "bad" ? "alert" : "status"}>
    <${Icon} name=${tone === "info" ? "info" : "warn"} />
    <div>${children}</div>
    ${action && html`<button class="button" type="button" onClick=${onAction}>${action}</button>`}
  </div>`;
}

/** Says what is missing and how to get it. @param {{icon: IconName, title: string, text: string, children?: import("./html.js").Children}} props */
export function Empty({ icon, title, text, children }) {
  return html`<div class="empty"><${Icon} name=${icon} /><h2>${title}</h2><p>${text}</p>${children}</div>`;
}

/** A part of a whole as a bar; the number stands beside it, so it is not read out. @param {{share: number}} props */
export function Bar({ share }) {
  const width = 100 * Math.min(1, Math.max(0, share));
  return html`<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
    <rect class="rail" width="100" height="4" /><rect width=${width} height="4" /></svg>`;
}

/** The width that an element has, in CSS pixels, followed. @param {{current: HTMLElement | null}} ref @param {number} [guess] until it is known */
export function useWidth(ref, guess = 640) {
  const [width, setWidth] = useState(guess);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    setWidth(element.clientWidth);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return width;
}

const darkQuery = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is drawn dark now. */
export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === undefined ? darkQuery.matches : chosen === "dark";
}

/** Follows the theme: true while dark. */
export function useDark() {
  const [dark, setDark] = useState(isDark());
  useEffect(() => {
    const look = () => setDark(isDark());
    const observer = new MutationObserver(look);
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    darkQuery.addEventListener("change", look);
    return () => {
      observer.disconnect();
      darkQuery.removeEventListener("change", look);
    };
  }, []);
  return dark;
}

/** @param {{toLight: string, toDark: string}} props */
export function ThemeButton({ toLight, toDark }) {
  const dark = useDark();
  function toggle() {
    const theme = dark ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("aisle-theme", theme);
    } catch {
      // The choice then lasts as long as the page.
    }
  }
  const label = dark ? toLight : toDark;
  return html`<button class="button quiet square" type="button" aria-label=${label} title=${label} onClick=${toggle}>
    <${Icon} name=${dark ? "sun" : "moon"} />
  </button>`;
}
