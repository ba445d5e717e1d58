// Requests to the service: JSON and binary, with every failure as one kind of error.
import { learnNow } from "./clock.js";

/**
 * What went wrong, as pages tell it apart: `away` no answer came, `unauthorised` log in again, `forbidden` the role does
 * not allow it, `missing` there is no such thing, `refused` the input was wrong, `broken` the service failed.
 * @typedef {"away" | "unauthorised" | "forbidden" | "missing" | "refused" | "broken"} Kind
 */

export class ApiError extends Error {
  /** @param {Kind} kind @param {number} status @param {string} message */
  constructor(kind, status, message) {
    super(message);
    this.name = "ApiError";
    this.kind = kind;
    this.status = status;
  }
}

/** @type {() => void} */
let unauthorised = () => {};

/** Calls `listener` whenever an answer says that nobody is logged in any more. @param {() => void} listener */
export function onUnauthorised(listener) {
  unauthorised = listener;
}

/** @param {number} status @returns {Kind} */
function kindOf(status) {
  if (status === 401) return "unauthorised";
  if (status === 403) return "forbidden";
  if (status === 404) return "missing";
  // A gateway without a service behind it answers 502 to 504: to a person the service is away.
  if (status >= 502 && status <= 504) return "away";
  return status >= 500 ? "broken" : "refused";
}

/** The sentence of an RFC 9457 problem, or "" where the answer is none. @param {Response} response */
async function problemOf(response) {
  try {
    const problem = await response.json();
    const detail = problem.detail ?? problem.title;
    return typeof detail === "string" ? detail : "";
  } catch {
    return "";
  }
}

/**
 * @param {string} path
 * @param {RequestInit} init
 * @param {boolean} [quiet] do not tell the 401 listener (a first look whether somebody is logged in)
 */
async function request(path, init, quiet = false) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("away", 0, "");
  }
  const now = response.headers.get("x-aisle-now");
  if (now !== null) learnNow(Number(now));
  if (response.ok) return response;
  const error = new ApiError(kindOf(response.status), response.status, await problemOf(response));
  if (error.kind === "unauthorised" && !quiet) unauthorised();
  throw error;
}

/**
 * The JSON answer of a GET. The caller names its shape, as in interfaces of the service.
 * @template T
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @param {boolean} [quiet]
 * @returns {Promise<T>}
 */
export async function get(path, signal, quiet) {
  const response = await request(path, { signal, headers: { accept: "application/json" } }, quiet);
  return response.json();
}

/**
 * Sends JSON and gives the JSON answer, null where there is none (204).
 * @template T
 * @param {"POST" | "PUT" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {boolean} [quiet]
 * @returns {Promise<T | null>}
 */
export async function send(method, path, body, quiet) {
  /** @type {Record<string, string>} */
  const headers = { "x-aisle": "1", accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  // keepalive: a report made while the page is being closed still arrives.
  const response = await request(
    path,
    { method, headers, body: body === undefined ? undefined : JSON.stringify(body), keepalive: true },
    quiet,
  );
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}

/** The bytes and headers of a GET. @param {string} path @param {AbortSignal} [signal] */
export async function getBytes(path, signal) {
  const response = await request(path, { signal });
  return { bytes: await response.arrayBuffer(), headers: response.headers };
}

/** @param {string} path @param {Record<string, string | number>} query */
export function withQuery(path, query) {
  const params = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return `${path}?${params}`;
}
