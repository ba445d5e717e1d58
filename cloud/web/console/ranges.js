// Periods and their steps, on the store's own clock and calendar.

/** @typedef {import("./types.js").Span} Span */
/** @typedef {"last15" | "hour" | "today" | "yesterday" | "all"} RangeId */

/** @type {RangeId[]} */
export const RANGES = ["last15", "hour", "today", "yesterday", "all"];

const MINUTE_US = 60e6;
const DAY_US = 86400e6;
/** Step lengths in minutes that people read easily. */
const STEPS_MIN = [5, 10, 15, 30, 60, 120, 240, 720, 1440];
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

/** "09:30" after a midnight, or null where the text is no time of day. @param {number} midnight_us @param {string | undefined} time */
function timeOfDay(midnight_us, time) {
  const match = /^(\d\d):(\d\d)/.exec(time ?? "");
  return match ? midnight_us + (Number(match[1]) * 60 + Number(match[2])) * MINUTE_US : null;
}

/**
 * The period that a range means at `now_us`. Days are cut to opening hours.
 * @param {RangeId} range @param {number} now_us
 * @param {{tz: string, opens?: string, closes?: string}} store
 * @param {number | null} first_us where the data begins, null while unknown
 * @returns {Span}
 */
export function spanOf(range, now_us, store, first_us) {
  if (range === "last15") return { from_us: now_us - 15 * MINUTE_US, to_us: now_us };
  if (range === "hour") return { from_us: now_us - 60 * MINUTE_US, to_us: now_us };
  if (range === "all") return { from_us: first_us ?? 0, to_us: now_us };
  const today_us = dayStart(now_us, store.tz);
  const midnight_us = range === "today" ? today_us : dayStart(today_us - DAY_US / 2, store.tz);
  const end_us = range === "today" ? now_us : today_us;
  const opens_us = timeOfDay(midnight_us, store.opens) ?? midnight_us;
  const closes_us = timeOfDay(midnight_us, store.closes) ?? end_us;
  const from_us = opens_us < end_us ? opens_us : midnight_us;
  return { from_us, to_us: closes_us > from_us ? Math.min(closes_us, end_us) : end_us };
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
