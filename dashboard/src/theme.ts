// Light, dark, or what the system has.
import { store } from './store';

export type Theme = 'system' | 'light' | 'dark';

function read(): Theme {
  const set = document.documentElement.dataset.theme;
  return set === 'light' || set === 'dark' ? set : 'system';
}

export const theme = store<Theme>(read());

export function setTheme(next: Theme): void {
  if (next === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === 'system') localStorage.removeItem('hawker.theme');
    else localStorage.setItem('hawker.theme', next);
  } catch {
    // Storage is forbidden: it holds until the page is left.
  }
  theme.set(next);
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => theme.set(theme.get()));
