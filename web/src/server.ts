/** What the page asks its own server, beside signalling: how people may join, and a token for one call. */

export interface PageConfig {
  /** `open`: anybody who can load the page joins by name. `token`: a link with an invitation is needed. */
  access: 'open' | 'token';
  version: string;
  /** Whether hosts may record their calls here. */
  records: boolean;
}

export interface TokenRequest {
  call: string;
  /** The name others see. */
  name: string;
  /** See `person.ts`. */
  identity: string;
  /** The invitation in the link, if it has one. */
  invite?: string | undefined;
}

/** The server answered, and the answer is no. `message` is a sentence for the person. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/** The server did not answer, or not in a way this page understands. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

/** How people may join. @throws {Unreachable} */
export async function fetchConfig(signal?: AbortSignal): Promise<PageConfig> {
  const answer = await ask('/page/config', signal === undefined ? {} : { signal });
  const config = (await json(answer)) as Partial<PageConfig> | undefined;
  if (!answer.ok || config === undefined) throw new Unreachable(`the server answered ${answer.status}`);
  const access = config.access === 'open' ? 'open' : 'token';
  return { access, version: String(config.version ?? ''), records: config.records === true };
}

/** A token to join one call with. @throws {Refused | Unreachable} */
export async function fetchToken(request: TokenRequest): Promise<string> {
  const answer = await ask('/page/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
  });
  const body = (await json(answer)) as { token?: unknown; error?: unknown } | undefined;
  if (answer.ok && typeof body?.token === 'string') return body.token;
  if (typeof body?.error === 'string' && body.error !== '') throw new Refused(body.error);
  throw new Unreachable(`the server answered ${answer.status}`);
}

/**
 * Whether a recording that the host started runs or starts; with `on`, starts or stops one.
 *
 * @throws {Refused | Unreachable}
 */
export async function hostRecording(token: string, on?: boolean): Promise<boolean> {
  const method = on === undefined ? 'GET' : on ? 'POST' : 'DELETE';
  const answer = await ask('/page/recording', { method, headers: { authorization: `Bearer ${token}` } });
  const body = (await json(answer)) as { recording?: unknown; error?: unknown } | undefined;
  if (answer.ok && typeof body?.recording === 'boolean') return body.recording;
  if (typeof body?.error === 'string' && body.error !== '') throw new Refused(body.error);
  throw new Unreachable(`the server answered ${answer.status}`);
}

async function ask(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { cache: 'no-store', ...init });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new Unreachable('the server did not answer', { cause });
  }
}

async function json(answer: Response): Promise<unknown> {
  try {
    return await answer.json();
  } catch {
    return undefined;
  }
}
