// Signing in with the card's number and its activation code.
import { useState } from "preact/hooks";
import { ApiError, send } from "../shared/api.js";
import { html } from "../shared/html.js";
import { Notice } from "../shared/parts.js";
import { t } from "./strings.js";

/** @param {{ended: boolean, onSignedIn: () => void}} props */
export function SignIn({ ended, onSignedIn }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    // People type the spaces and dashes that are printed between the digits.
    const card = String(form.get("card")).replace(/[\s-]/g, "");
    setBusy(true);
    setError("");
    try {
      await send("POST", "/app/v1/session", { card, code: String(form.get("code")).trim() }, true);
      onSignedIn();
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught;
      setError(caught.kind === "unauthorised" ? t.signIn.wrong : caught.message || t.errors[caught.kind]);
    } finally {
      setBusy(false);
    }
  }
  return html`<main class="sign-in"><form onSubmit=${submit}>
    <img src="/shared/mark.svg" alt="" width="64" height="64" />
    <div><h1>${t.signIn.title}</h1><p class="muted">${t.signIn.text}</p></div>
    ${error && html`<${Notice} tone="bad">${error}<//>`}
    ${!error && ended && html`<${Notice} tone="warn">${t.signIn.ended}<//>`}
    <label class="field"><span>${t.signIn.card}</span>
      <input class="input" name="card" inputmode="numeric" autocomplete="username" required /></label>
    <label class="field"><span>${t.signIn.code}</span>
      <input class="input" name="code" autocomplete="one-time-code" autocapitalize="characters" spellcheck="false" required aria-describedby="code-help" />
      <small id="code-help">${t.signIn.codeHelp}</small></label>
    <button class="button primary" disabled=${busy}>${busy ? t.signIn.busy : t.signIn.submit}</button>
  </form></main>`;
}
