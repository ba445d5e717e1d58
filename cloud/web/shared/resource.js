// Loading something for a component: data, error, reload, and a repeat that pauses while nobody looks.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api.js";

/**
 * @template T
 * @typedef {{data: T | undefined, error: ApiError | undefined, loading: boolean, reload: () => void}} Resource
 */

/**
 * Loads when `key` changes and again every `every_s` seconds while the page is visible. Data of the same key stays
 * during a reload, so nothing flickers; data of another key never shows.
 * @template T
 * @param {string | null} key null: nothing to load yet
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {number} [every_s]
 * @returns {Resource<T>}
 */
export function useResource(key, load, every_s = 0) {
  const [state, setState] = useState(
    /** @type {{key: string | null, data: T | undefined, error: ApiError | undefined}} */ ({
      key: null, data: undefined, error: undefined,
    }),
  );
  const [turn, setTurn] = useState(0);
  const newest = useRef(load);
  newest.current = load;

  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    newest.current(abort.signal).then(
      (data) => setState({ key, data, error: undefined }),
      (error) => {
        if (abort.signal.aborted) return;
        const known = error instanceof ApiError ? error : new ApiError("broken", 0, String(error));
        setState((old) => ({ key, data: old.key === key ? old.data : undefined, error: known }));
      },
    );
    return () => abort.abort();
  }, [key, turn]);

  const reload = useCallback(() => setTurn((old) => old + 1), []);
  useEffect(() => {
    if (every_s <= 0) return;
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") reload();
    }, every_s * 1000);
    return () => clearInterval(timer);
  }, [every_s, reload]);

  const current = state.key === key;
  return {
    data: current ? state.data : undefined,
    error: current ? state.error : undefined,
    loading: key !== null && !current,
    reload,
  };
}
