// Consents as switches that work at once, and what this phone holds.
import { useEffect, useState } from "preact/hooks";
import { ApiError, get, send } from "../shared/api.js";
import * as format from "../shared/format.js";
import { html } from "../shared/html.js";
import { Notice } from "../shared/parts.js";
import { useResource } from "../shared/resource.js";
import { t } from "./strings.js";

/** @typedef {import("./types.js").Consent} Consent */
/** @typedef {import("./types.js").Me} Me */
/** The browser's offer to install the page (not in TypeScript's DOM). @typedef {Event & {prompt: () => Promise<unknown>}} InstallEvent */

/** @type {InstallEvent | null} */
let installable = null;
addEventListener("beforeinstallprompt", (event) => {
  event.preventDefault();
  installable = /** @type {InstallEvent} */ (event);
});

/** @param {{me: Me, online: boolean, onSignOut: () => void}} props */
export function Privacy({ me, online, onSignOut }) {
  const loaded = useResource("consents", loadConsents);
  return html`<section aria-labelledby="privacy-title">
    <h1 id="privacy-title">${t.privacy.title}</h1>
    <p class="muted">${t.privacy.text}</p>
    ${loaded.error && html`<${Notice} tone="warn" action=${t.errors.retry} onAction=${loaded.reload}>${online ? t.errors[loaded.error.kind] : t.privacy.offline}<//>`}
    ${loaded.data && html`<${Switches} consents=${loaded.data} />`}
    <h2>${t.privacy.account}</h2>
    <div class="card pad account">
      <div><strong>${me.name}</strong><p class="muted small">${t.privacy.member(format.day(me.since_us))}</p></div>
      ${installable && html`<button class="button" type="button" onClick=${() => void installable?.prompt()}>${t.privacy.install}</button>`}
      <button class="button" type="button" onClick=${onSignOut}>${t.privacy.signOut}</button>
      <p class="muted small">${t.privacy.signOutText}</p>
    </div>
  </section>`;
}

/** @param {AbortSignal} signal @returns {Promise<Consent[]>} */
const loadConsents = (signal) => get("/app/v1/consents", signal);

/** @param {{consents: Consent[]}} props */
function Switches({ consents }) {
  const [granted, setGranted] = useState(() => new Map(consents.map((one) => [one.purpose, one.granted])));
  const [busy, setBusy] = useState(/** @type {string | null} */ (null));
  const [said, setSaid] = useState({ text: "", bad: false });
  useEffect(() => setGranted(new Map(consents.map((one) => [one.purpose, one.granted]))), [consents]);

  /** Shows the new state at once, and takes it back if the service did not. @param {Consent} consent */
  async function flip(consent) {
    const before = granted.get(consent.purpose) ?? false;
    setGranted(new Map(granted).set(consent.purpose, !before));
    setBusy(consent.purpose);
    setSaid({ text: t.privacy.saving, bad: false });
    try {
      await send("PUT", "/app/v1/consents", { purpose: consent.purpose, granted: !before });
      setSaid({ text: before ? t.privacy.off(consent.title) : t.privacy.on(consent.title), bad: false });
    } catch (error) {
      const why = error instanceof ApiError ? t.errors[error.kind] : t.errors.broken;
      setGranted((old) => new Map(old).set(consent.purpose, before));
      setSaid({ text: t.privacy.failed(consent.title, why), bad: true });
    } finally {
      setBusy(null);
    }
  }
  return html`
    <ul class="card consents">${consents.map((one) => html`<li key=${one.purpose}>
      <button class="switch" type="button" role="switch" aria-checked=${granted.get(one.purpose) ?? false} disabled=${busy !== null}
        aria-describedby="text-${one.purpose}" data-purpose=${one.purpose} onClick=${() => flip(one)}>
        <span>${one.title}</span><span class="knob" aria-hidden="true"></span>
      </button>
      <p class="muted small" id="text-${one.purpose}">${one.text}</p>
    </li>`)}</ul>
    <p class="said small ${said.bad ? "bad" : ""}" role="status" aria-live="polite">${said.text}</p>`;
}
