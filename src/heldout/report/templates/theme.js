const root = document.documentElement, keep = "heldout-theme";
try { const kept = localStorage.getItem(keep); if (kept) root.dataset.theme = kept; } catch { /* no storage for files */ }
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem(keep, root.dataset.theme); } catch { /* not kept then */ }
});
