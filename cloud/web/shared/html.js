// The one place where preact and htm meet; text put into a template is always text, never markup.
import { h, render } from "preact";
import htm from "htm";

/** @typedef {import("preact").ComponentChildren} Children */

export const html = htm.bind(h);
export { render };
