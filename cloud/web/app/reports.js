// Telling the service what became of an offer; what could not be told waits for the connection.
import { ApiError, send } from "../shared/api.js";
import { clockKnown, nowUs } from "../shared/clock.js";

/** @typedef {{push_id: string, state: "shown" | "clicked" | "dismissed", at_us?: number}} Report */

/** @type {Report[]} */
let waiting = [];
addEventListener("online", () => void tellWaiting());

/** Reports one state of an offer; the service takes the same report twice without harm. @param {string} push_id @param {Report["state"]} state */
export async function report(push_id, state) {
  // Only a clock that the service set is worth sending: a phone's own may be anything.
  await tell({ push_id, state, ...(clockKnown() ? { at_us: Math.round(nowUs()) } : {}) });
}

/** @param {Report} one */
async function tell({ push_id, ...body }) {
  try {
    await send("POST", `/app/v1/pushes/${encodeURIComponent(push_id)}`, body);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.kind === "away") waiting.push({ push_id, ...body });
  }
}

/** Tells what waited, oldest first. */
export async function tellWaiting() {
  const now = waiting;
  waiting = [];
  for (const one of now) await tell(one);
}

/** What waits belongs to the member who signs out. */
export function forgetReports() {
  waiting = [];
}
