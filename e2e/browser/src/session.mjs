// The methods a test may call, by name, over browsers and the people in them.
import { endLeftovers, launch } from './browsers.mjs';
import { Pages } from './pages.mjs';
import { Person } from './person.mjs';

/** Milliseconds a method may take when the request names no `limit`. */
const DEFAULT_LIMIT = 30_000;

export class Session {
  #emit;
  #browsers = new Map();
  #people = new Map();
  #pages;
  #next = 1;

  /** `emit(event, params)` reports what nobody asked for: console lines and crashes. */
  constructor(emit) {
    this.#emit = emit;
  }

  async call(method, params) {
    if (!Object.hasOwn(METHODS, method)) {
      throw new Error(`there is no method ${method}; there are: ${Object.keys(METHODS).join(', ')}`);
    }
    return METHODS[method](this, { limit: DEFAULT_LIMIT, ...params });
  }

  async launch(params) {
    const browser = await launch(params);
    const id = `b${this.#next++}`;
    this.#browsers.set(id, browser);
    return { browser: id, version: browser.version };
  }

  async open(params) {
    const browser = this.#browsers.get(params.browser);
    if (browser === undefined) throw new Error(`there is no browser ${params.browser}`);
    const id = `p${this.#next++}`;
    const person = await Person.open(browser, params, (line) => this.#emit('console', { person: id, ...line }));
    this.#people.set(id, person);
    return { person: id };
  }

  /** The address of one of our own pages. */
  async page(kind, params) {
    this.#pages ??= Pages.start();
    return { url: (await this.#pages)[kind](params) };
  }

  person(id) {
    const person = this.#people.get(id);
    if (person === undefined) throw new Error(`there is no person ${id}`);
    return person;
  }

  async close(id) {
    if (this.#people.has(id)) {
      await this.person(id).close();
      this.#people.delete(id);
      return;
    }
    const browser = this.#browsers.get(id);
    if (browser === undefined) throw new Error(`there is no browser or person ${id}`);
    this.#browsers.delete(id);
    for (const [key, person] of this.#people) if (person.browser === browser) this.#people.delete(key);
    await browser.close();
  }

  async closeAll() {
    const browsers = [...this.#browsers.values()];
    this.#browsers.clear();
    await Promise.allSettled(browsers.map((browser) => browser.close()));
    await this.#pages?.then((pages) => pages.stop()).catch(() => {});
    await endLeftovers();
  }
}

/** Every method of the protocol, in README.md's order. */
const METHODS = {
  launch: (session, params) => session.launch(params),
  open: (session, params) => session.open(params),
  earlier: (session, params) => session.page('earlier', params),
  network: (session, params) => session.page('network', params),
  close: (session, params) => session.close(params.id),
  join: (session, params) => session.person(params.person).join(params),
  leave: (session, params) => session.person(params.person).leave(params),
  reload: (session, params) => session.person(params.person).reload(),
  mute: (session, params) => session.person(params.person).press('microphone', 'Mute', params),
  unmute: (session, params) => session.person(params.person).press('microphone', 'Unmute', params),
  camera: (session, params) =>
    session.person(params.person).press('camera', params.on ? 'Turn camera on' : 'Turn camera off', params),
  raiseHand: (session, params) => session.person(params.person).press('hand', 'Raise hand', params),
  lowerHand: (session, params) => session.person(params.person).press('hand', 'Lower hand', params),
  react: (session, params) => session.person(params.person).react(params),
  chat: (session, params) => session.person(params.person).chat(params),
  share: (session, params) => session.person(params.person).share(params),
  stopSharing: (session, params) => session.person(params.person).press('share', 'Stop sharing', params),
  state: (session, params) => session.person(params.person).inPage('state'),
  waitText: (session, params) => session.person(params.person).waitText(params),
  waitSelector: (session, params) => session.person(params.person).waitSelector(params),
  waitState: (session, params) => session.person(params.person).waitState(params),
  waitConsole: (session, params) => session.person(params.person).waitConsole(params),
  measure: (session, params) => session.person(params.person).inPage('measure', params.ms ?? 600),
  waitSound: (session, params) => session.person(params.person).waitSound(params),
  code: (session, params) => session.person(params.person).inPage('code'),
  waitCodes: (session, params) => session.person(params.person).waitCodes(params),
  stats: (session, params) => session.person(params.person).inPage('stats'),
  screenshot: (session, params) => session.person(params.person).screenshot(params.path),
  evaluate: (session, params) => session.person(params.person).evaluate(params.expression),
};
