// A stream of server-sent events that heals itself: the browser's own reconnect, and ours where it gives up.

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;

/** @typedef {"connecting" | "live" | "away"} Link */

/**
 * Opens `path` and keeps it open until the returned function is called.
 * @param {string} path
 * @param {Record<string, (data: unknown, id: string) => void>} listeners by event name; data is parsed JSON
 * @param {(link: Link) => void} onLink
 * @returns {() => void} closes the stream
 */
export function openStream(path, listeners, onLink) {
  /** @type {EventSource | null} */
  let source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let retry_ms = FIRST_RETRY_MS;
  let closed = false;

  function connect() {
    if (closed) return;
    onLink("connecting");
    const opened = new EventSource(path);
    source = opened;
    opened.onopen = () => {
      retry_ms = FIRST_RETRY_MS;
      onLink("live");
    };
    opened.onerror = () => {
      onLink("away");
      // CLOSED means that the browser will not try again, as after an HTTP error.
      if (opened.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(connect, retry_ms * (0.5 + Math.random() / 2));
      retry_ms = Math.min(retry_ms * 2, LONGEST_RETRY_MS);
    };
    for (const [name, listener] of Object.entries(listeners)) {
      opened.addEventListener(name, (event) => {
        const value = parsed(event.data);
        if (value !== undefined) listener(value, event.lastEventId);
      });
    }
  }

  connect();
  return () => {
    closed = true;
    clearTimeout(timer);
    source?.close();
  };
}

/** @param {string} text @returns {unknown} undefined where the text is no JSON */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
