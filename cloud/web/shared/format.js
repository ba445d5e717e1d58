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

/** @param {number} value @param {"second" | "minute" | "hour" | "day"} unit */
function inUnit(value, unit) {
  return new Intl.NumberFormat(LOCALE, { style: "unit", unit, unitDisplay: "short" }).format(value);
}

/** "45 sec", "3 min 20 sec", "2 hr 5 min". @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return inUnit(s, "second");
  if (s < 3600) return pair(Math.floor(s / 60), "minute", s % 60, "second");
  if (s < 86400) return pair(Math.floor(s / 3600), "hour", Math.floor((s % 3600) / 60), "minute");
  return pair(Math.floor(s / 86400), "day", Math.floor((s % 86400) / 3600), "hour");
}

/**
 * @param {number} big @param {"minute" | "hour" | "day"} bigUnit
 * @param {number} small @param {"second" | "minute" | "hour"} smallUnit
 */
function pair(big, bigUnit, small, smallUnit) {
  return small === 0 ? inUnit(big, bigUnit) : `${inUnit(big, bigUnit)} ${inUnit(small, smallUnit)}`;
}

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
