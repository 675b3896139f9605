// Runs before the page is drawn, so that it never flashes in the other colours.
try {
  const theme = JSON.parse(localStorage.getItem('lepus.theme'));
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // No storage, or nonsense in it: as the system likes it.
}
