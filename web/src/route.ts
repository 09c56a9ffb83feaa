/**
 * Which page an address means, and the address of a call.
 *
 * A call's link is `/c/{call}` and never changes. An invitation travels in the fragment
 * (`/c/standup#invite=…`), which a browser does not send to any server or proxy on the way.
 */

export type Route =
  | { page: 'home' }
  | { page: 'call'; call: string; invite: string | undefined }
  | { page: 'missing' };

/** The longest name of a call, in bytes of UTF-8: what the signalling accepts as the name of a room. */
export const CALL_NAME_BYTES = 256;

/** Reads a route from an address. A malformed name of a call is a missing page, not an error. */
export function routeOf(address: Pick<Location, 'pathname' | 'hash'>): Route {
  if (address.pathname === '/') return { page: 'home' };
  const encoded = /^\/c\/([^/]+)\/?$/.exec(address.pathname)?.[1];
  if (encoded === undefined) return { page: 'missing' };
  let call: string;
  try {
    call = decodeURIComponent(encoded);
  } catch {
    return { page: 'missing' };
  }
  if (!isCallName(call)) return { page: 'missing' };
  const invite = new URLSearchParams(address.hash.replace(/^#/, '')).get('invite') ?? undefined;
  return { page: 'call', call, invite };
}

/** Whether something may be the name of a call: not blank, not too long, no control characters. */
export function isCallName(name: string): boolean {
  return (
    name.trim() !== '' &&
    new TextEncoder().encode(name).length <= CALL_NAME_BYTES &&
    !/[\u0000-\u001f\u007f]/.test(name)
  );
}

/** What people type as a name, as it appears in a link: `Monday stand-up!` becomes `monday-stand-up`. */
export function callNameFrom(typed: string): string {
  return typed
    .normalize('NFC')
    .toLowerCase()
    .replace(/[^\p{Letter}\p{Mark}\p{Number}]+/gu, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 60)
    .replace(/-+$/, '');
}

/** The path of a call, to go to or to copy behind an origin. */
export function callPath(call: string, invite?: string): string {
  const path = `/c/${encodeURIComponent(call)}`;
  return invite === undefined ? path : `${path}#invite=${encodeURIComponent(invite)}`;
}
