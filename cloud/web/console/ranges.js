// Periods and their steps, on the store's own clock and calendar.

/** @typedef {import("./types.js").Span} Span */
/** @typedef {"today" | "yesterday" | "week" | "all"} RangeId */

/** @type {RangeId[]} */
export const RANGES = ["today", "yesterday", "week", "all"];

const MINUTE_US = 60e6;
const DAY_US = 86400e6;
/** Step lengths in minutes that people read easily. Nothing shorter than an hour is told: so few people can be followed. */
const STEPS_MIN = [60, 120, 240, 720, 1440];
/** More steps than this are not told apart on a slider. */
const MOST_STEPS = 36;

/** Microseconds since local midnight. @param {number} at_us @param {string} tz */
function sinceMidnight(at_us, tz) {
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone: tz, hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit",
  }).formatToParts(at_us / 1000);
  /** @param {string} type */
  const part = (type) => Number(parts.find((one) => one.type === type)?.value ?? 0);
  return (part("hour") * 3600 + part("minute") * 60 + part("second")) * 1e6 + (at_us % 1e6);
}

/** The local midnight at or before an instant; right on days of 23 and 25 hours too. @param {number} at_us @param {string} tz */
export function dayStart(at_us, tz) {
  const guess = at_us - sinceMidnight(at_us, tz);
  const off = sinceMidnight(guess, tz);
  return off === 0 ? guess : guess + (off > DAY_US / 2 ? DAY_US - off : -off);
}

/** The midnight so many days before another. @param {number} midnight_us @param {number} days @param {string} tz */
function daysBefore(midnight_us, days, tz) {
  return dayStart(midnight_us - (days - 0.5) * DAY_US, tz);
}

/**
 * The period that a range means at `now_us`: whole local days, of which alone first stops and dwell are told.
 * @param {RangeId} range @param {number} now_us @param {{tz: string}} store
 * @param {number | null} first_us where the data begins, null while unknown
 * @returns {Span}
 */
export function spanOf(range, now_us, store, first_us) {
  const today_us = dayStart(now_us, store.tz);
  if (range === "today") return { from_us: today_us, to_us: now_us };
  if (range === "yesterday") return { from_us: daysBefore(today_us, 1, store.tz), to_us: today_us };
  if (range === "week") return { from_us: daysBefore(today_us, 7, store.tz), to_us: today_us };
  return { from_us: first_us ?? 0, to_us: now_us };
}

/** Minutes of "09:30", or null where the text is no time of day. @param {string | undefined} time */
function minutesOf(time) {
  const match = /^(\d\d):(\d\d)/.exec(time ?? "");
  return match ? Number(match[1]) * 60 + Number(match[2]) : null;
}

/**
 * The whole hours of a day that touch the opening hours; the day where nothing is known of those, or is left of them.
 * @param {Span} day @param {{opens?: string, closes?: string}} store
 */
export function whileOpen(day, store) {
  const opens = minutesOf(store.opens) ?? 0;
  const closes = minutesOf(store.closes) ?? 1440;
  const from_us = day.from_us + Math.floor(opens / 60) * 60 * MINUTE_US;
  const to_us = Math.min(day.from_us + Math.ceil(closes / 60) * 60 * MINUTE_US, day.to_us);
  return from_us < to_us ? { from_us, to_us } : day;
}

/** Cuts a period into steps of one readable length, the newest last and perhaps shorter. @param {Span} span */
export function stepsOf(span) {
  const minutes = (span.to_us - span.from_us) / MINUTE_US;
  const step_min = STEPS_MIN.find((step) => minutes / step <= MOST_STEPS) ?? Math.ceil(minutes / MOST_STEPS / 1440) * 1440;
  /** @type {Span[]} */
  const steps = [];
  for (let at_us = span.from_us; at_us < span.to_us; at_us += step_min * MINUTE_US) {
    steps.push({ from_us: at_us, to_us: Math.min(at_us + step_min * MINUTE_US, span.to_us) });
  }
  return { step_s: step_min * 60, steps };
}
