// The service worker: keeps the page's own files for the time without a connection, and nothing else. No answer of the
// service is ever stored here, so nothing of one member can be shown to another.

/** Counts up whenever SHELL changes; the caches of other versions are removed. */
const VERSION = 1;
const CACHE = `aisle-app-${VERSION}`;
/** How long a file may take to come from the network before the kept one is used, milliseconds. */
const PATIENCE_MS = 2500;

/** All that the page needs to open. A test compares it with the files that the page really loads. */
const SHELL = [
  "/app/", "/app/app.css", "/app/barcode.js", "/app/code128.js", "/app/main.js", "/app/manifest.webmanifest",
  "/app/memory.js", "/app/offers.js", "/app/privacy.js", "/app/reports.js", "/app/signin.js", "/app/strings.js",
  "/app/icons/192.png",
  "/shared/api.js", "/shared/base.css", "/shared/clock.js", "/shared/format.js", "/shared/html.js", "/shared/mark.svg",
  "/shared/parts.js", "/shared/resource.js", "/shared/sse.js", "/shared/theme.js", "/shared/tokens.css",
  "/modules/htm.js", "/modules/preact-hooks.js", "/modules/preact.js",
];

/** What TypeScript's DOM library does not know of a worker's own events. @typedef {Event & {waitUntil: (work: Promise<unknown>) => void}} LifeEvent */
/** @typedef {Event & {request: Request, respondWith: (answer: Promise<Response>) => void}} AskEvent */
const worker = /** @type {EventTarget & {skipWaiting: () => Promise<void>, clients: {claim: () => Promise<void>}}} */ (
  /** @type {unknown} */ (self)
);

worker.addEventListener("install", (event) => {
  /** @type {LifeEvent} */ (event).waitUntil(fillCache().then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  /** @type {LifeEvent} */ (event).waitUntil(dropOthers().then(() => worker.clients.claim()));
});

worker.addEventListener("fetch", (event) => {
  const { request, respondWith } = /** @type {AskEvent} */ (event);
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  const path = request.mode === "navigate" && pathname.startsWith("/app/") && !pathname.startsWith("/app/v1/") ? "/app/" : pathname;
  if (SHELL.includes(path)) respondWith.call(event, networkFirst(request, path));
});

async function fillCache() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL.map((path) => new Request(path, { cache: "reload" })));
}

async function dropOthers() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith("aisle-app-") && name !== CACHE).map((name) => caches.delete(name)));
}

/** The newest file where the network gives it soon, else the kept one. @param {Request} request @param {string} path */
async function networkFirst(request, path) {
  const cache = await caches.open(CACHE);
  try {
    const fresh = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (fresh.ok) await cache.put(path, fresh.clone());
    return fresh;
  } catch (error) {
    const kept = await cache.match(path);
    if (kept) return kept;
    throw error;
  }
}
