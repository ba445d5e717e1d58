// The console's frame: who is logged in, which store, which page.
import { useCallback, useEffect, useState } from "preact/hooks";
import { ApiError, get, onUnauthorised, send } from "../shared/api.js";
import { html, render } from "../shared/html.js";
import { Empty, Icon, ThemeButton } from "../shared/parts.js";
import { useResource } from "../shared/resource.js";
import { CampaignsPage } from "./campaigns.js";
import { forgetGrids } from "./grids.js";
import { useLive } from "./live.js";
import { LoginPage } from "./login.js";
import { MapPage } from "./map.js";
import { NodesPage } from "./nodes.js";
import { Failed, Loading } from "./parts.js";
import { hrefOf, pagesFor, useRoute } from "./route.js";
import { t } from "./strings.js";
import { VisitsPage } from "./visits.js";
import { ZonesPage } from "./zones.js";

/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Store} Store */
/** @typedef {import("./types.js").Plan} Plan */
/** @typedef {import("./ranges.js").RangeId} RangeId */
/** @typedef {import("./route.js").Page} Page */

/** Seconds between looks for a service that was away. */
const RETRY_S = 4;

function Console() {
  const [session, setSession] = useState(/** @type {Session | null | undefined} */ (undefined));
  const [ended, setEnded] = useState(false);
  const [away, setAway] = useState(/** @type {ApiError | null} */ (null));

  const look = useCallback(() => {
    get("/v1/session", undefined, true).then(
      (found) => { setAway(null); setSession(/** @type {Session} */ (found)); },
      (error) => {
        if (error instanceof ApiError && error.kind === "unauthorised") { setAway(null); setSession(null); }
        else setAway(error instanceof ApiError ? error : new ApiError("broken", 0, String(error)));
      },
    );
  }, []);
  useEffect(look, []);
  useEffect(() => {
    if (!away) return;
    const timer = setInterval(look, RETRY_S * 1000);
    return () => clearInterval(timer);
  }, [away]);
  useEffect(() => onUnauthorised(() => {
    forgetGrids();
    setSession((old) => { if (old) setEnded(true); return null; });
  }), []);

  async function signOut() {
    const before = session;
    // First nothing asks any more, then the session ends: no request is left that would be refused.
    setSession(undefined);
    try {
      await send("DELETE", "/v1/session", undefined, true);
    } catch (error) {
      if (!(error instanceof ApiError) || error.kind !== "unauthorised") {
        setSession(before);
        return;
      }
    }
    forgetGrids();
    setEnded(false);
    setSession(null);
  }

  if (away) {
    return html`<main class="login"><div class="card"><${Empty} icon="cloud" title=${t.errors.awayTitle} text=${t.errors.awayText}>
      <button class="button" type="button" onClick=${look}>${t.errors.retry}</button><//></div></main>`;
  }
  if (session === undefined) return null;
  if (session === null) return html`<${LoginPage} ended=${ended} onSession=${setSession} />`;
  return html`<${Frame} session=${session} onSignOut=${signOut} />`;
}

/** @param {{session: Session, onSignOut: () => void}} props */
function Frame({ session, onSignOut }) {
  const route = useRoute();
  const stores = useResource("stores", loadStores, 60);
  const store = stores.data?.find((one) => one.store === route.store) ?? stores.data?.[0];
  const storeId = store?.store ?? "";
  const page = t.titles[route.page];

  useEffect(() => { if (store) document.title = t.pageTitle(page, store.name); }, [page, store?.name]);

  return html`
    <a class="skip" href="#content" onClick=${skipToContent}>${t.skip}</a>
    ${store?.demo && html`<div class="demo" role="note"><strong>${t.demoTitle}</strong> <span>${t.demo}</span></div>`}
    <header class="top">
      <p class="brand"><img src="/shared/mark.svg" alt="" width="28" height="28" /><span>${t.product}</span></p>
      ${stores.data && stores.data.length > 0 && html`<label><span class="sr">${t.store}</span>
        <select class="select" value=${storeId} onChange=${(/** @type {Event} */ event) => {
          location.hash = hrefOf(/** @type {HTMLSelectElement} */ (event.currentTarget).value, route.page);
        }}>${stores.data.map((one) => html`<option key=${one.store} value=${one.store}>${one.name}</option>`)}</select></label>`}
      <span class="grow"></span>
      <span class="who muted small">${t.signedInAs(session.login, session.roles.join(", "))}</span>
      <${ThemeButton} toLight=${t.toLight} toDark=${t.toDark} />
      <button class="button quiet square" type="button" aria-label=${t.signOut} title=${t.signOut} onClick=${onSignOut}><${Icon} name="out" /></button>
    </header>
    <nav class="pages" aria-label=${t.pages}>
      ${pagesFor(session.roles).map((one) => html`<a key=${one} href=${hrefOf(storeId, one)} aria-current=${one === route.page ? "page" : undefined}>
        <${Icon} name=${one} /><span>${t.titles[one]}</span></a>`)}
    </nav>
    <main id="content" tabindex="-1">
      <h1>${page}</h1>
      ${stores.error && html`<${Failed} error=${stores.error} onRetry=${stores.reload} />`}
      ${stores.data?.length === 0 && html`<section class="card"><${Empty} icon="map" title=${t.noStores.title} text=${t.noStores.text} /></section>`}
      ${store && html`<${StorePage} key=${store.store} store=${store} page=${route.page} what=${route.what} roles=${session.roles} />`}
    </main>`;
}

/** The address holds the page, so the link must not change it. @param {Event} event */
function skipToContent(event) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

/** @param {AbortSignal} signal @returns {Promise<Store[]>} */
const loadStores = (signal) => get("/v1/stores", signal);

/** @param {{store: Store, page: Page, what: string, roles: string[]}} props */
function StorePage({ store, page, what, roles }) {
  const plan = useResource(store.store, (signal) => loadPlan(store, signal), 120);
  const { now, link } = useLive(store.store);
  const [range, setRange] = useState(/** @type {RangeId} */ ("yesterday"));
  const [waited, setWaited] = useState(false);
  useEffect(() => {
    // Periods follow the service's clock: wait for its first word, but not for ever.
    const timer = setTimeout(() => setWaited(true), 2500);
    return () => clearTimeout(timer);
  }, []);
  if (plan.error && !plan.data) {
    return plan.error.kind === "missing"
      ? html`<section class="card"><${Empty} icon="map" title=${t.noPlan.title} text=${t.noPlan.text} /></section>`
      : html`<${Failed} error=${plan.error} onRetry=${plan.reload} />`;
  }
  if (!plan.data || (!now && !waited)) return html`<section class="card"><${Loading} rows=${6} /></section>`;
  if (page === "zones") return html`<${ZonesPage} plan=${plan.data} range=${range} onRange=${setRange} />`;
  if (page === "visits") return html`<${VisitsPage} plan=${plan.data} />`;
  if (page === "campaigns") return html`<${CampaignsPage} plan=${plan.data} what=${what} roles=${roles} />`;
  if (page === "nodes") return html`<${NodesPage} plan=${plan.data} roles=${roles} />`;
  return html`<${MapPage} plan=${plan.data} roles=${roles} now=${now} link=${link} range=${range} onRange=${setRange} />`;
}

/** The plan, with what the list of stores knows where the plan does not say it. @param {Store} store @param {AbortSignal} signal @returns {Promise<Plan>} */
async function loadPlan(store, signal) {
  const plan = await get(`/v1/stores/${encodeURIComponent(store.store)}/plan`, signal);
  return { ...store, .../** @type {Plan} */ (plan) };
}

const root = document.getElementById("root");
if (root) render(html`<${Console} />`, root);
