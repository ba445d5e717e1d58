// The store as it is now: one answer at once, then the live stream while somebody looks.
import { useEffect, useState } from "preact/hooks";
import { get } from "../shared/api.js";
import { learnNow } from "../shared/clock.js";
import { openStream } from "../shared/sse.js";

/** @typedef {import("./types.js").Now} Now */
/** @typedef {import("../shared/sse.js").Link} Link */

/** @param {string} store @returns {{now: Now | undefined, link: Link}} */
export function useLive(store) {
  const [seen, setSeen] = useState(/** @type {{store: string, now: Now} | null} */ (null));
  const [link, setLink] = useState(/** @type {Link} */ ("connecting"));

  useEffect(() => {
    const path = `/v1/stores/${encodeURIComponent(store)}`;
    /** @param {Now} now */
    const take = (now) => {
      learnNow(now.at_us);
      setSeen({ store, now });
    };
    const abort = new AbortController();
    /** @type {(() => void) | null} */
    let close = null;
    /** A hidden page needs no second-by-second counts: the stream closes until it is looked at. */
    function follow() {
      if (document.visibilityState === "hidden") {
        close?.();
        close = null;
      } else {
        close ??= openStream(`${path}/live`, { now: (data) => take(/** @type {Now} */ (data)) }, setLink);
      }
    }
    // A failure here shows as the stream's own state.
    get(`${path}/now`, abort.signal).then((now) => take(/** @type {Now} */ (now)), () => {});
    follow();
    document.addEventListener("visibilitychange", follow);
    return () => {
      document.removeEventListener("visibilitychange", follow);
      abort.abort();
      close?.();
    };
  }, [store]);

  return { now: seen?.store === store ? seen.now : undefined, link };
}
