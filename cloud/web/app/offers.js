// Offers: the live ones as cards that report when they are really seen, the earlier ones as a list.
import { useEffect, useRef, useState } from "preact/hooks";
import { nowUs } from "../shared/clock.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Empty } from "../shared/parts.js";
import { BarCode } from "./barcode.js";
import { states, t } from "./strings.js";

/** @typedef {import("./types.js").Offer} Offer */
/** @typedef {import("./types.js").OfferState} OfferState */

/** So much of a card must be on the screen to count as seen. */
const SEEN_SHARE = 0.6;

/** Whether an offer can still be used. @param {Offer} offer @param {number} now_us */
export function isLive(offer, now_us) {
  return offer.expires_us > now_us && ["sent", "shown", "clicked"].includes(offer.state);
}

/** The present instant, moving once a second. */
export function useNow() {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((old) => old + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  // Read at each drawing, not at each tick: an offer that just arrived must not look as if it came from the future.
  return nowUs();
}

/** @param {{offers: Offer[], newest: string | null, onState: (push_id: string, state: "shown" | "clicked" | "dismissed") => void}} props */
export function LiveOffers({ offers, newest, onState }) {
  const now_us = useNow();
  const live = offers.filter((offer) => isLive(offer, now_us));
  return html`<section class="live-offers" aria-labelledby="offers-title">
    <h2 id="offers-title">${t.offers.title}</h2>
    ${live.length === 0 && html`<div class="card"><${Empty} icon="tag" title=${t.offers.none} text=${t.offers.noneText} /></div>`}
    <ul>${live.map((offer) => html`<${OfferCard} key=${offer.push_id} offer=${offer} now_us=${now_us} fresh=${newest === offer.push_id} onState=${onState} />`)}</ul>
  </section>`;
}

/**
 * @param {{offer: Offer, now_us: number, fresh: boolean,
 *   onState: (push_id: string, state: "shown" | "clicked" | "dismissed") => void}} props
 */
function OfferCard({ offer, now_us, fresh, onState }) {
  const [open, setOpen] = useState(false);
  const card = useRef(/** @type {HTMLLIElement | null} */ (null));
  useSeen(card, offer.state === "sent", () => onState(offer.push_id, "shown"));
  useEffect(() => {
    if (fresh) card.current?.scrollIntoView({ block: "nearest" });
  }, [fresh]);

  function toggle() {
    if (!open && offer.state !== "clicked") onState(offer.push_id, "clicked");
    setOpen(!open);
  }
  return html`<li class="card offer ${fresh ? "fresh" : ""}" ref=${card} data-push=${offer.push_id}>
    <div class="offer-head"><h3>${offer.title}</h3>
      <span class="pill warn plain" role="timer" aria-live="off">${t.offers.left(format.countdown((offer.expires_us - now_us) / 1e6))}</span></div>
    <p>${offer.body}</p>
    ${offer.coupon && open && html`<figure class="coupon"><${BarCode} text=${offer.coupon} label=${t.offers.couponLabel(offer.coupon)} />
      <figcaption>${t.offers.coupon} <code>${offer.coupon}</code></figcaption></figure>`}
    ${offer.coupon && !open && html`<p class="small muted">${t.offers.coupon} <code>${offer.coupon}</code></p>`}
    <div class="offer-actions">
      ${offer.coupon && html`<button class="button primary" type="button" aria-expanded=${open} onClick=${toggle}>${open ? t.offers.hide : t.offers.use}</button>`}
      <button class="button quiet" type="button" onClick=${() => onState(offer.push_id, "dismissed")}>${t.offers.dismiss}</button>
    </div>
    ${offer.why && html`<details class="small"><summary>${t.offers.why}</summary><p class="muted">${offer.why}</p></details>`}
  </li>`;
}

/**
 * Calls `onSeen` once the element is on a screen that somebody can look at.
 * @param {{current: HTMLElement | null}} ref @param {boolean} wanted @param {() => void} onSeen
 */
function useSeen(ref, wanted, onSeen) {
  const newest = useRef(onSeen);
  newest.current = onSeen;
  useEffect(() => {
    const element = ref.current;
    if (!wanted || !element) return;
    let inView = false;
    let told = false;
    function look() {
      if (told || !inView || document.visibilityState !== "visible") return;
      told = true;
      newest.current();
    }
    const observer = new IntersectionObserver((entries) => {
      inView = entries.some((entry) => entry.isIntersecting);
      look();
    }, { threshold: SEEN_SHARE });
    observer.observe(element);
    document.addEventListener("visibilitychange", look);
    return () => {
      observer.disconnect();
      document.removeEventListener("visibilitychange", look);
    };
  }, [wanted]);
}

/** @param {{offers: Offer[]}} props */
export function Inbox({ offers }) {
  const now_us = useNow();
  const earlier = offers.filter((offer) => !isLive(offer, now_us));
  return html`<section aria-labelledby="inbox-title">
    <h1 id="inbox-title">${t.inbox.title}</h1>
    ${earlier.length === 0 && html`<div class="card"><${Empty} icon="inbox" title=${t.inbox.none} text=${t.inbox.noneText} /></div>`}
    ${earlier.length > 0 && html`<ul class="card inbox">${earlier.map((offer) => {
      const state = ["sent", "shown", "clicked"].includes(offer.state) ? "expired" : offer.state;
      return html`<li key=${offer.push_id}>
        <div class="offer-head"><h2>${offer.title}</h2><span class="pill ${state === "used" ? "good" : ""}">${states[state] ?? state}</span></div>
        <p class="small">${offer.body}</p>
        <p class="small muted">${format.dayTime(offer.sent_us)}</p>
      </li>`;
    })}</ul>`}
  </section>`;
}
