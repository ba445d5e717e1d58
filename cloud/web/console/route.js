// The address of a page: #/{store}/{page}/{what}, so that reload, back and shared links work.
import { useEffect, useState } from "preact/hooks";

export const PAGES = /** @type {const} */ (["map", "zones", "visits", "campaigns", "nodes"]);
/** @typedef {typeof PAGES[number]} Page */
/** @typedef {{store: string, page: Page, what: string}} Route */

/** Pages about single visits and campaigns are not for those who look after the nodes. */
const NOT_FOR_TECHNICIANS = /** @type {readonly Page[]} */ (["visits", "campaigns"]);

/** The pages that somebody with these roles may use. @param {string[]} roles @returns {Page[]} */
export function pagesFor(roles) {
  const technicianOnly = roles.every((role) => role === "technician");
  return PAGES.filter((page) => !(technicianOnly && NOT_FOR_TECHNICIANS.includes(page)));
}

/** @param {string} hash @returns {Route} */
export function routeOf(hash) {
  const [store = "", page = "", what = ""] = hash.replace(/^#\/?/, "").split("/").map(decoded);
  const known = PAGES.find((one) => one === page);
  return { store, page: known ?? "map", what };
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** @param {string} store @param {Page} page @param {string} [what] */
export function hrefOf(store, page, what = "") {
  const tail = what === "" ? "" : `/${encodeURIComponent(what)}`;
  return `#/${encodeURIComponent(store)}/${page}${tail}`;
}

/** The present route, following the address. */
export function useRoute() {
  const [route, setRoute] = useState(routeOf(location.hash));
  useEffect(() => {
    const look = () => setRoute(routeOf(location.hash));
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  return route;
}
