// The member's page: the card, offers as they arrive, and what the member allows.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, onUnauthorised, send } from "../shared/api.js";
import { clockOffset, learnNow, nowUs } from "../shared/clock.js";
import * as format from "../shared/format.js";
import { html, render } from "../shared/html.js";
import { Icon, Notice, ThemeButton } from "../shared/parts.js";
import { openStream } from "../shared/sse.js";
import { BarCode, grouped } from "./barcode.js";
import { forget, recall, remember } from "./memory.js";
import { Inbox, LiveOffers } from "./offers.js";
import { Privacy } from "./privacy.js";
import { forgetReports, report, tellWaiting } from "./reports.js";
import { SignIn } from "./signin.js";
import { t } from "./strings.js";

/** @typedef {import("./types.js").Me} Me */
/** @typedef {import("./types.js").Offer} Offer */
/** @typedef {import("./types.js").OfferState} OfferState */
/** @typedef {"home" | "inbox" | "privacy"} Tab */
/** @typedef {import("../shared/sse.js").Link} Link */

/** @type {{tab: Tab, icon: import("../shared/parts.js").IconName}[]} */
const TABS = [{ tab: "home", icon: "card" }, { tab: "inbox", icon: "inbox" }, { tab: "privacy", icon: "lock" }];
/** Seconds between looks for a service that was away. */
const RETRY_S = 5;

function App() {
  const kept = useRef(/** @type {import("./types.js").Snapshot | null | undefined} */ (undefined));
  if (kept.current === undefined) kept.current = recalled();
  const [me, setMe] = useState(/** @type {Me | null | undefined} */ (kept.current?.me));
  const [offers, setOffers] = useState(kept.current?.offers ?? []);
  const [as_of_us, setAsOf] = useState(kept.current?.at_us ?? 0);
  const [away, setAway] = useState(false);
  const [ended, setEnded] = useState(false);

  const leave = useCallback((/** @type {boolean} */ byItself) => {
    forget();
    forgetReports();
    setOffers([]);
    setEnded(byItself);
    setMe(null);
  }, []);

  const look = useCallback(async () => {
    try {
      const found = /** @type {Me} */ (await get("/app/v1/me", undefined, true));
      const list = /** @type {Offer[]} */ (await get("/app/v1/offers", undefined, true));
      setAway(false);
      setAsOf(nowUs());
      setOffers(list);
      setMe(found);
      void tellWaiting();
    } catch (error) {
      if (error instanceof ApiError && error.kind === "unauthorised") {
        const wasIn = recall() !== null;
        setAway(false);
        leave(wasIn);
      } else {
        setAway(true);
        setMe((old) => old ?? null);
      }
    }
  }, []);

  useEffect(() => {
    void look();
    onUnauthorised(() => leave(true));
    const online = () => void look();
    addEventListener("online", online);
    return () => removeEventListener("online", online);
  }, []);
  useEffect(() => {
    if (!away || !me) return;
    const timer = setInterval(() => void look(), RETRY_S * 1000);
    return () => clearInterval(timer);
  }, [away, me === null]);
  useEffect(() => {
    if (me && !away && as_of_us > 0) remember({ me, offers, at_us: as_of_us, offset_us: clockOffset() });
  }, [me, offers, as_of_us, away]);

  async function signOut() {
    leave(false);
    try {
      await send("DELETE", "/app/v1/session", undefined, true);
    } catch (error) {
      // Offline the cookie stays with the browser, but nothing of the member stays on the phone.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  if (me === undefined) return null;
  if (me === null) return html`<${SignIn} ended=${ended} onSignedIn=${() => void look()} />`;
  return html`<${Home} key=${me.card} me=${me} offers=${offers} onOffers=${setOffers} away=${away} as_of_us=${as_of_us} onLook=${look} onPing=${() => setAsOf(nowUs())} onSignOut=${signOut} />`;
}

/**
 * @param {{me: Me, offers: Offer[], onOffers: (change: (old: Offer[]) => Offer[]) => void, away: boolean, as_of_us: number,
 *   onLook: () => Promise<void>, onPing: () => void, onSignOut: () => void}} props
 */
function Home({ me, offers, onOffers, away, as_of_us, onLook, onPing, onSignOut }) {
  const [tab, setTab] = useState(/** @type {Tab} */ ("home"));
  const [newest, setNewest] = useState(/** @type {Offer | null} */ (null));
  const [link, setLink] = useState(/** @type {Link} */ ("connecting"));
  const main = useRef(/** @type {HTMLElement | null} */ (null));

  useEffect(() => openStream("/app/v1/stream", {
    ping: (data) => {
      if (data && typeof data === "object" && "at_us" in data) learnNow(Number(data.at_us));
      onPing();
    },
    offer: (data) => {
      const offer = /** @type {Offer} */ (data);
      onOffers((old) => [offer, ...old.filter((one) => one.push_id !== offer.push_id)]);
      setNewest(offer);
    },
  }, setLink), []);
  // A stream that came back may have been away for long: the list says what happened meanwhile.
  const wasAway = useRef(false);
  useEffect(() => {
    if (link === "away") wasAway.current = true;
    if (link === "live" && wasAway.current) {
      wasAway.current = false;
      void onLook();
    }
  }, [link]);

  const onState = useCallback((/** @type {string} */ push_id, /** @type {"shown" | "clicked" | "dismissed"} */ state) => {
    onOffers((old) => old.map((offer) => (offer.push_id === push_id ? { ...offer, state } : offer)));
    void report(push_id, state);
  }, []);

  /** @param {Tab} next */
  function open(next) {
    setTab(next);
    main.current?.focus();
    scrollTo(0, 0);
  }
  const offline = away || link === "away";
  return html`
    <header class="head">
      <p class="brand"><img src="/shared/mark.svg" alt="" width="28" height="28" />${t.product}</p>
      <span class="grow"></span>
      <span class="pill ${offline ? "bad" : link === "live" ? "good" : "warn"}">${offline ? t.away : t[link]}</span>
      <${ThemeButton} toLight=${t.toLight} toDark=${t.toDark} />
    </header>
    <main ref=${main} tabindex="-1">
      ${away && html`<${Notice} tone="warn">${t.offline(format.dayTime(as_of_us))}<//>`}
      ${newest && tab !== "home" && html`<${Notice} action=${t.offers.look} onAction=${() => open("home")}>${t.offers.arrived(newest.title)}<//>`}
      <p class="sr" role="status" aria-live="polite">${newest ? t.offers.arrived(newest.title) : ""}</p>
      ${tab === "home" && html`<${Card} me=${me} />
        <${LiveOffers} offers=${offers} newest=${newest?.push_id ?? null} onState=${onState} />`}
      ${tab === "inbox" && html`<${Inbox} offers=${offers} />`}
      ${tab === "privacy" && html`<${Privacy} me=${me} online=${!away} onSignOut=${onSignOut} />`}
    </main>
    <nav class="tabs" aria-label=${t.pages}>
      ${TABS.map(({ tab: one, icon }) => html`<button key=${one} type="button" aria-current=${one === tab ? "page" : undefined} onClick=${() => open(one)}>
        <${Icon} name=${icon} /><span>${t.tabs[one]}</span></button>`)}
    </nav>`;
}

/** The last snapshot; times of offers then follow the clock that the service had. */
function recalled() {
  const kept = recall();
  if (kept && Number.isFinite(kept.offset_us)) learnNow(Date.now() * 1000 + kept.offset_us);
  return kept;
}

/** @param {{me: Me}} props */
function Card({ me }) {
  return html`<section class="member-card" aria-labelledby="card-title">
    <div class="member-head"><h1 id="card-title">${t.card.hello(me.name)}</h1><span class="small">${t.card.show}</span></div>
    <div class="code-plate"><${BarCode} text=${me.card} label=${t.card.label(me.card)} /><p data-testid="card">${grouped(me.card)}</p></div>
  </section>`;
}

if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("/app/sw.js", { scope: "/app/" }).catch((error) => console.warn("no offline mode:", error));
}
const root = document.getElementById("root");
if (root) render(html`<${App} />`, root);
