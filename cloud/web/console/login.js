// The way in.
import { useState } from "preact/hooks";
import { ApiError, send } from "../shared/api.js";
import { html } from "../shared/html.js";
import { Notice, ThemeButton } from "../shared/parts.js";
import { errorText } from "./parts.js";
import { t } from "./strings.js";

/** @typedef {import("./types.js").Session} Session */

/** @param {{ended: boolean, onSession: (session: Session) => void}} props */
export function LoginPage({ ended, onSession }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    setBusy(true);
    setError("");
    try {
      const session = await send("POST", "/v1/session", { login: form.get("login"), password: form.get("password") }, true);
      onSession(/** @type {Session} */ (session));
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught;
      setError(caught.kind === "unauthorised" ? t.login.wrong : errorText(caught));
    } finally {
      setBusy(false);
    }
  }

  return html`<main class="login">
    <div class="login-theme"><${ThemeButton} toLight=${t.toLight} toDark=${t.toDark} /></div>
    <form class="card" onSubmit=${submit}>
      <p class="brand"><img src="/shared/mark.svg" alt="" width="36" height="36" />${t.product}</p>
      <div><h1>${t.login.title}</h1><p class="muted">${t.tagline}</p></div>
      ${error && html`<${Notice} tone="bad">${error}<//>`}
      ${!error && ended && html`<${Notice} tone="warn">${t.login.ended}<//>`}
      <label class="field"><span>${t.login.login}</span>
        <input class="input" name="login" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus /></label>
      <label class="field"><span>${t.login.password}</span>
        <input class="input" name="password" type="password" autocomplete="current-password" required /></label>
      <button class="button primary" disabled=${busy}>${busy ? t.login.busy : t.login.submit}</button>
      <p class="muted small">${t.login.help}</p>
    </form>
  </main>`;
}
