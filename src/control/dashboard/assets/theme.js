// Before the first paint, so that nothing flashes in the other theme.
try {
  const theme = localStorage.getItem('hawker.theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden: the system's theme.
}
