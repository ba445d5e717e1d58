// Numbers, durations, money and instants as text, by locale and by the store's time zone.

export const LOCALE = "en-GB";

const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 2 });
const points = new Intl.NumberFormat(LOCALE, {
  minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero",
});
const share = new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto", style: "short" });

/** @param {number} value */
export const count = (value) => whole.format(value);
/** @param {number} value */
export const decimal = (value) => tenth.format(value);
/** Two significant digits, for scales. @param {number} value */
export const rough = (value) => (value >= 100 ? whole.format(value) : short.format(value));
/** @param {number} fraction */
export const percent = (fraction) => share.format(fraction);
/** Percentage points with their sign. @param {number} value */
export const signed = (value) => points.format(value).replace("-", "−");

/** @typedef {"second" | "minute" | "hour" | "day"} Unit */

/** The two largest units of a duration. @param {number} seconds @returns {[number, Unit][]} */
function inUnits(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return [[s, "second"]];
  if (s < 3600) return [[Math.floor(s / 60), "minute"], [s % 60, "second"]];
  if (s < 86400) return [[Math.floor(s / 3600), "hour"], [Math.floor((s % 3600) / 60), "minute"]];
  return [[Math.floor(s / 86400), "day"], [Math.floor((s % 86400) / 3600), "hour"]];
}

/** @param {number} seconds @param {"narrow" | "short"} unitDisplay */
function durationAs(seconds, unitDisplay) {
  return inUnits(seconds)
    .filter(([value], i) => i === 0 || value > 0)
    .map(([value, unit]) => new Intl.NumberFormat(LOCALE, { style: "unit", unit, unitDisplay }).format(value))
    .join(" ");
}

/** "45s", "3m 20s", "2h 5m": for tables. @param {number} seconds */
export const duration = (seconds) => durationAs(seconds, "narrow");
/** "3 min 20 sec": within sentences. @param {number} seconds */
export const durationWords = (seconds) => durationAs(seconds, "short");

/** "9:41" of time left. @param {number} seconds */
export function countdown(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor((s % 3600) / 60);
  const head = s >= 3600 ? `${Math.floor(s / 3600)}:${String(minutes).padStart(2, "0")}` : String(minutes);
  return `${head}:${String(s % 60).padStart(2, "0")}`;
}

/** "3 min ago" beside a present instant, both in microseconds. @param {number} at_us @param {number} now_us */
export function ago(at_us, now_us) {
  const s = Math.round((at_us - now_us) / 1e6);
  if (Math.abs(s) < 60) return relative.format(Math.min(s, 0), "second");
  if (Math.abs(s) < 3600) return relative.format(Math.round(s / 60), "minute");
  if (Math.abs(s) < 86400) return relative.format(Math.round(s / 3600), "hour");
  return relative.format(Math.round(s / 86400), "day");
}

/** Money given in minor units. @param {number} minor @param {string} currency ISO 4217 */
export function money(minor, currency) {
  try {
    const format = new Intl.NumberFormat(LOCALE, { style: "currency", currency });
    const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
    return format.format(minor / 10 ** digits);
  } catch {
    return `${decimal(minor / 100)} ${currency}`;
  }
}

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {number} at_us @param {string | undefined} tz @param {Intl.DateTimeFormatOptions} options */
function instant(at_us, tz, options) {
  const key = JSON.stringify([tz, options]);
  let format = formats.get(key);
  if (!format) {
    format = new Intl.DateTimeFormat(LOCALE, { ...options, timeZone: tz, hourCycle: "h23" });
    formats.set(key, format);
  }
  return format.format(at_us / 1000);
}

/** "10:32". @param {number} at_us @param {string} [tz] the machine's own where absent */
export const hourMinute = (at_us, tz) => instant(at_us, tz, { hour: "2-digit", minute: "2-digit" });
/** "10:32:05". @param {number} at_us @param {string} [tz] */
export const hourMinuteSecond = (at_us, tz) =>
  instant(at_us, tz, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
/** "Sun 22 Nov". @param {number} at_us @param {string} [tz] */
export const day = (at_us, tz) => instant(at_us, tz, { weekday: "short", day: "numeric", month: "short" });
/** "Sun 22 Nov, 10:32". @param {number} at_us @param {string} [tz] */
export const dayTime = (at_us, tz) => `${day(at_us, tz)}, ${hourMinute(at_us, tz)}`;

/** "10:00–10:30", with the day where asked or where the ends differ. @param {number} from_us @param {number} to_us @param {string} tz */
export function span(from_us, to_us, tz) {
  const oneDay = day(from_us, tz) === day(to_us, tz);
  return oneDay
    ? `${day(from_us, tz)}, ${hourMinute(from_us, tz)}–${hourMinute(to_us, tz)}`
    : `${dayTime(from_us, tz)} – ${dayTime(to_us, tz)}`;
}
