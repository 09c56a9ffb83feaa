// Serves the pages of this folder: `earlier/`, calls on earlier releases of livekit-client, and `network/`, calls that
// are measured.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

const FILES = {
  '/': ['text/html; charset=utf-8', at('../earlier/index.html')],
  '/page.mjs': ['text/javascript', at('../earlier/page.mjs')],
  '/network/': ['text/html; charset=utf-8', at('../network/index.html')],
  '/network/page.mjs': ['text/javascript', at('../network/page.mjs')],
  '/network/pictures.mjs': ['text/javascript', at('../network/pictures.mjs')],
  '/clients/e2ee-worker.mjs': [
    'text/javascript',
    at('../node_modules/livekit-client-2.23/dist/livekit-client.e2ee.worker.mjs'),
  ],
};

/** A web server on a free port of loopback, where browsers grant the microphone. */
export class Pages {
  #server;

  static async start() {
    const pages = new Pages();
    pages.#server = createServer((request, response) => {
      answer(request).then(
        ({ status = 200, type, body }) => response.writeHead(status, { 'content-type': type }).end(body),
        (error) => response.writeHead(500, { 'content-type': 'text/plain' }).end(error.message),
      );
    });
    await new Promise((resolve, reject) => pages.#server.once('error', reject).listen(0, '127.0.0.1', resolve));
    return pages;
  }

  /** Where the call of that name is, at the server whose page is at `page`, with that release of livekit-client. */
  earlier({ version, page, call }) {
    const query = new URLSearchParams({ version, server: page, call });
    return `${this.#address}/?${query}`;
  }

  /** Where one end of a measured call is; see `network/page.mjs`. */
  network({ server, token, sends, codec, relay, secret }) {
    const end = { server, token, sends, codec, relay, secret };
    return `${this.#address}/network/#${encodeURIComponent(JSON.stringify(end))}`;
  }

  get #address() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

async function answer(request) {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (request.method === 'POST' && pathname === '/token') return token(await textOf(request));
  const version = /^\/clients\/(\d+\.\d+)\.mjs$/.exec(pathname)?.[1];
  const [type, path] =
    version === undefined
      ? (FILES[pathname] ?? [])
      : ['text/javascript', at(`../node_modules/livekit-client-${version}/dist/livekit-client.esm.mjs`)];
  if (path === undefined) return { status: 404, type: 'text/plain', body: 'not here' };
  return { type, body: await readFile(path) };
}

/** The server's page gives tokens to pages of its own origin; this one asks on behalf of another. */
async function token(text) {
  const { server, ...wish } = JSON.parse(text);
  const headers = { 'content-type': 'application/json' };
  const given = await fetch(`${server}/page/token`, { method: 'POST', headers, body: JSON.stringify(wish) });
  return { status: given.status, type: 'application/json', body: await given.text() };
}

async function textOf(request) {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  return text;
}
