// Puts the chosen theme on the document before anything is drawn; a classic script, so that no light flash comes first.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("aisle-theme");
  } catch {
    // Storage may be closed to this page: the system's theme stands.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
