// The service's clock as this page knows it: a simulated run has its own time, and a phone's clock may be wrong.

let offset_us = 0;
let learnt = false;

/** The service said that it is `at_us` now (microseconds since 1970 UTC). @param {number} at_us */
export function learnNow(at_us) {
  if (!Number.isFinite(at_us) || at_us <= 0) return;
  offset_us = at_us - Date.now() * 1000;
  learnt = true;
}

/** The present instant on the service's clock, microseconds; the machine's own until the service told its time. */
export function nowUs() {
  return Date.now() * 1000 + offset_us;
}

/** The service's clock less the machine's, microseconds. */
export function clockOffset() {
  return offset_us;
}

/** Whether the service told its time on this page. */
export function clockKnown() {
  return learnt;
}
