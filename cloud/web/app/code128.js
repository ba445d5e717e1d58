// Code 128 bar codes (ISO/IEC 15417): text to the widths of bars and spaces.

/** Widths in modules of bar, space, bar, space, bar, space for values 0 to 105, and of the stop with its last bar. */
const WIDTHS =
  "212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132 122231 113222 " +
  "123122 123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212 322112 322211 212123 212321 " +
  "232121 111323 131123 131321 112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 113321 133121 " +
  "313121 211331 231131 213113 213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224 " +
  "111422 121124 121421 141122 141221 112214 112412 122114 122411 142112 142211 241211 221114 413111 241112 134111 " +
  "111242 121142 121241 114212 124112 124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113 " +
  "114311 411113 411311 113141 114131 311141 411131 211412 211214 211232 2331112";
const SYMBOLS = WIDTHS.split(" ");

const TO_C = 99;
const TO_B = 100;
const START_B = 104;
const START_C = 105;
const STOP = 106;

/** Light space that a scanner needs on either side, modules. */
export const QUIET = 10;

/**
 * The symbol values of a text, start, check and stop included. Pairs of digits go two to a symbol (set C) where a run of
 * four or more at an end, or six or more inside, makes that shorter; the rest is set B.
 * @param {string} text printable ASCII
 */
export function valuesOf(text) {
  if (text === "" || /[^ -~]/.test(text)) throw new RangeError("a bar code holds one or more printable ASCII characters");
  /** @type {number[]} */
  const values = [];
  let set = "";
  let at = 0;
  while (at < text.length) {
    const digits = /^\d*/.exec(text.slice(at))?.[0].length ?? 0;
    const edge = at === 0 || at + digits === text.length;
    const dense = set === "C" ? digits >= 2 : digits >= (edge ? 4 : 6) || (digits === 2 && text.length === 2);
    // An odd run begins with one digit in set B, so that the rest pairs up to its end.
    const wanted = dense && (set === "C" || digits % 2 === 0) ? "C" : "B";
    if (set !== wanted) {
      values.push(set === "" ? (wanted === "C" ? START_C : START_B) : wanted === "C" ? TO_C : TO_B);
      set = wanted;
    }
    values.push(set === "C" ? Number(text.slice(at, at + 2)) : text.charCodeAt(at) - 32);
    at += set === "C" ? 2 : 1;
  }
  const check = values.reduce((sum, value, i) => sum + value * Math.max(1, i), 0) % 103;
  return [...values, check, STOP];
}

/** Widths of alternating bars and spaces in modules, beginning with a bar. @param {string} text */
export function widthsOf(text) {
  return valuesOf(text).flatMap((value) => [...SYMBOLS[value]].map(Number));
}

/** The bars as rectangles: where each begins and how wide it is, in modules after the quiet zone; and the whole width. @param {string} text */
export function barsOf(text) {
  let x = QUIET;
  const bars = [];
  for (const [i, width] of widthsOf(text).entries()) {
    if (i % 2 === 0) bars.push({ x, width });
    x += width;
  }
  return { bars, width: x + QUIET };
}
