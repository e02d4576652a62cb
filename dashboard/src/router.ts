// Pages are behind the address's hash, so the server knows one address.
import { store } from './store';

export interface Route {
  page: string;
  /** What follows the page, decoded: a client's identifier. */
  argument: string | null;
  query: URLSearchParams;
}

function read(): Route {
  const [place = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
  const slash = place.indexOf('/');
  const page = slash < 0 ? place : place.slice(0, slash);
  const rest = slash < 0 ? null : place.slice(slash + 1);
  let argument = rest;
  try {
    argument = rest === null ? null : decodeURIComponent(rest);
  } catch {
    // Typed by hand: taken as it is.
  }
  return { page: page || 'overview', argument: argument || null, query: new URLSearchParams(query) };
}

export const route = store<Route>(read());
addEventListener('hashchange', () => route.set(read()));

export function link(page: string, argument?: string, query?: Record<string, string>): string {
  const tail = argument === undefined ? '' : `/${encodeURIComponent(argument)}`;
  const text = query ? `?${new URLSearchParams(query)}` : '';
  return `#/${page}${tail}${text}`;
}

export function go(to: string): void {
  location.hash = to.replace(/^#/, '');
}
