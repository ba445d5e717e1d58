// The funnel of a campaign, drawn by ECharts, which is loaded only when a page shows one.
import { useEffect, useRef, useState } from "preact/hooks";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { useDark } from "../shared/parts.js";

/** @typedef {{name: string, value: number}} Stage */

/** @param {{stages: Stage[], label: string}} props */
export function Funnel({ stages, label }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [chart, setChart] = useState(/** @type {import("echarts").ECharts | null} */ (null));
  const dark = useDark();

  useEffect(() => {
    let left = false;
    /** @type {import("echarts").ECharts | undefined} */
    let made;
    /** @type {ResizeObserver | undefined} */
    let observer;
    void import("echarts").then((echarts) => {
      if (left || !box.current) return;
      made = echarts.init(box.current, null, { renderer: "canvas" });
      observer = new ResizeObserver(() => made?.resize());
      observer.observe(box.current);
      setChart(made);
    });
    return () => {
      left = true;
      observer?.disconnect();
      made?.dispose();
    };
  }, []);

  useEffect(() => {
    if (chart && box.current) chart.setOption(optionsOf(stages, getComputedStyle(box.current)), true);
  }, [chart, JSON.stringify(stages), dark]);

  return html`<div class="funnel" ref=${box} role="img" aria-label=${label}></div>`;
}

/** @param {Stage[]} stages @param {CSSStyleDeclaration} style @returns {import("echarts").EChartsOption} */
function optionsOf(stages, style) {
  const most = Math.max(1, ...stages.map((stage) => stage.value));
  const first = stages[0]?.value ?? 0;
  return {
    animationDuration: 300,
    aria: { enabled: false },
    series: [{
      type: "funnel",
      sort: "none",
      left: 0, right: 0, top: 4, bottom: 4,
      min: 0, max: most, minSize: "1%", maxSize: "100%",
      gap: 3,
      silent: true,
      label: {
        position: "inside",
        color: style.color,
        fontFamily: style.fontFamily,
        fontSize: 13,
        lineHeight: 18,
        formatter: (item) => {
          const value = Number(item.value);
          const share = first > 0 && item.dataIndex > 0 ? ` · ${format.percent(value / first)}` : "";
          return `${item.name}  {number|${format.count(value)}}${share}`;
        },
        rich: { number: { fontWeight: "bold", fontSize: 14, color: style.color, fontFamily: style.fontFamily } },
      },
      // From the style sheet, so that both themes keep their contrast: the border colour carries the fill.
      itemStyle: { color: style.borderTopColor, borderWidth: 0 },
      data: stages.map((stage) => ({ name: stage.name, value: stage.value })),
    }],
  };
}
