// What this phone keeps for the time without a connection: one member's card and offers, gone at sign-out.

/** @typedef {import("./types.js").Snapshot} Snapshot */

const KEY = "aisle-app-1";

/** The last snapshot, null where there is none or it is of another version. @returns {Snapshot | null} */
export function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
    return kept && typeof kept.me?.card === "string" && Array.isArray(kept.offers) ? kept : null;
  } catch {
    return null;
  }
}

/** @param {Snapshot} snapshot */
export function remember(snapshot) {
  try {
    localStorage.setItem(KEY, JSON.stringify(snapshot));
  } catch {
    // Without storage the page works as long as there is a connection.
  }
}

export function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Nothing was kept then.
  }
}
