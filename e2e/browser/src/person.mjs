// One person in a call: a page in a context of its own, and what the person does and perceives there.
import { EventEmitter, once } from 'node:events';
import { drawCode, readCode } from './code.mjs';
import { openCodeTab } from './codetab.mjs';
import { installInstruments } from './inpage.mjs';

/** Console lines kept for `waitConsole`; older ones go. */
const LINES_KEPT = 1_000;
/** Milliseconds between two looks at a page while waiting for something in it. */
const LOOK = 60;

export class Person {
  #page;
  #context;
  #codeTab;
  #lines = [];
  /** Emits `line` after each that is kept. */
  #console = new EventEmitter().setMaxListeners(0);
  #name;

  /** Opens `url` for a person; see `open` in README.md. `onLine` gets each console line. */
  static async open(browser, { url, name, tone = 440, devices = 'all', colorScheme, width, height, limit }, onLine) {
    const person = new Person();
    person.browser = browser;
    person.#name = name;
    person.#context = await browser.puppeteer.createBrowserContext();
    const page = await person.#context.newPage();
    person.#page = page;
    if (width !== undefined && height !== undefined) await page.setViewport({ width, height });
    if (colorScheme !== undefined) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: colorScheme }]);
    }
    const keep = ({ level, text }) => {
      // Browsers write the address of a failed websocket to the console, and the token is in it.
      const line = { level, text: text.replace(/(access_token=)[^&\s"']+/g, '$1…') };
      person.#lines.push(line);
      if (person.#lines.length > LINES_KEPT) person.#lines.shift();
      person.#console.emit('line', line);
      onLine(line);
    };
    page.on('console', (message) => void lineOf(message).then(keep));
    // Anything can be thrown, also what has no message.
    page.on('pageerror', (error) => keep({ level: 'exception', text: String(error?.message ?? error) }));
    page.on('error', (error) => keep({ level: 'crash', text: String(error?.message ?? error) }));
    // As text, because Firefox's protocol takes a function without arguments only.
    // Without a display, Chromium captures a tab of its own, and Firefox nothing.
    const options = JSON.stringify({ tone, devices, drawnScreen: browser.name !== 'chromium' });
    const script = `(${installInstruments})(${options}, ${readCode}, ${drawCode})`;
    await page.evaluateOnNewDocument(new Function(script));
    await page.goto(url, { timeout: limit, waitUntil: 'load' });
    return person;
  }

  async close() {
    await this.#context.close();
  }

  async reload() {
    await this.#page.reload({ waitUntil: 'load' });
  }

  /** Types the name and presses Join. Resolves once in the call; fails with the page's words if it says no. */
  async join({ muted = false, limit }) {
    const page = this.#page;
    const end = Date.now() + limit;
    if (this.#name !== undefined) {
      await this.#until(end, () => 'the lobby did not open', async () => (await page.$('#own-name')) !== null);
      await page.$eval('#own-name', (field) => field.select());
      await page.type('#own-name', this.#name);
    }
    // Joins as people do: with the microphone they were given, once it is there or refused.
    await this.#until(end, () => 'the microphone was neither given nor refused', async () =>
      page.evaluate(() => document.querySelector('.preview-controls .control:not([disabled])[aria-label="Mute"], .lobby-check .trouble') !== null),
    );
    if (muted) await page.click('.preview-controls [aria-label="Mute"]');
    await page.click('.lobby-form button[type=submit]');
    const pressed = Date.now();
    let last;
    await this.#until(end, () => `not in the call: ${JSON.stringify(last)}`, async () => {
      last = await this.inPage('state');
      if (last.problem !== null && last.phase !== 'call') {
        throw new Error(`the page refuses after ${Date.now() - pressed} ms: ${last.problem}`);
      }
      return last.phase === 'call';
    });
    return { ms: Date.now() - pressed };
  }

  async leave({ limit }) {
    await this.#click('.control-leave', limit);
    await this.waitState({ phase: 'message', limit });
  }

  /**
   * Presses a control whose label says `label`, unless it already says something else of the two: then the person has
   * what they want.
   */
  async press(action, label, { limit }) {
    const selector = `.controls [data-action="${action}"]`;
    await this.waitSelector({ selector, limit });
    const current = await this.#page.$eval(selector, (button) => button.ariaLabel ?? button.getAttribute('aria-label'));
    if (current !== label) return;
    await this.#page.$eval(selector, (button) => button.click());
    await this.waitSelector({ selector: `${selector}:not([aria-label="${label}"])`, limit });
  }

  async react({ emoji, limit }) {
    const page = this.#page;
    if ((await page.$('.reactions-row')) === null) await this.#click('.controls [aria-label="React"]', limit);
    await this.#click(`.reactions-row [aria-label="React with ${emoji}"]`, limit);
    await this.#click('.controls [aria-label="React"]', limit);
  }

  async chat({ text, limit }) {
    const page = this.#page;
    if ((await page.$('.panel[data-panel-name="chat"]')) === null) await this.#click('.controls [data-action="chat"]', limit);
    await this.waitSelector({ selector: '.chat-form textarea', limit });
    await page.type('.chat-form textarea', text);
    await page.keyboard.press('Enter');
  }

  /** Shares a screen: in Chromium a tab with the code, elsewhere the code drawn in the page (`inpage.mjs`). */
  async share({ limit }) {
    if (this.browser.name === 'chromium') this.#codeTab ??= await openCodeTab(this.#context);
    await this.press('share', 'Share screen', { limit });
  }

  async waitText({ text, limit }) {
    await this.#until(Date.now() + limit, () => `the page does not say “${text}”`, () =>
      this.#page.evaluate((wanted) => document.body.innerText.includes(wanted), text),
    );
  }

  /** Waits until something matches a selector, or with `gone` nothing does. */
  async waitSelector({ selector, gone = false, limit }) {
    await this.#until(Date.now() + limit, () => `${selector} ${gone ? 'is still there' : 'is not there'}`, async () =>
      ((await this.#page.$(selector)) === null) === gone,
    );
  }

  /**
   * Waits until the page's state contains what is asked for, and returns the state. Objects are contained field by
   * field; a list contains another if each of its elements is contained in some element.
   */
  async waitState({ limit, person: _person, ...wanted }) {
    let state;
    await this.#until(Date.now() + limit, () => `waited for ${JSON.stringify(wanted)}, saw ${JSON.stringify(state)}`, async () => {
      state = await this.inPage('state');
      return contains(state, wanted);
    });
    return state;
  }

  /** Waits for a console line that contains `text`, written now or earlier. */
  async waitConsole({ text, limit }) {
    const signal = AbortSignal.timeout(limit);
    let found;
    // Looks through all of them anew: several may come before this goes on.
    while ((found = this.#lines.find((line) => line.text.includes(text))) === undefined) {
      await once(this.#console, 'line', { signal }).catch(() => {
        throw this.#complaint(`no console line says “${text}”`);
      });
    }
    return found;
  }

  /** Waits until somebody's tone is heard (or, with `silent`, no longer); returns their measurement. */
  async waitSound({ from, frequency, silent = false, ms = 300, limit }) {
    let heard;
    await this.#until(Date.now() + limit, () => `${from} is not ${silent ? 'silent' : `heard at ${frequency} Hz`}: ${JSON.stringify(heard)}`, async () => {
      heard = await this.inPage('measure', ms);
      const one = heard.find(({ name, source }) => name === from && source === 'microphone');
      if (silent) return one === undefined || one.rms < 0.001;
      return one !== undefined && one.rms > 0.01 && Math.abs(one.frequency - frequency) < 15;
    });
    return heard.find(({ name }) => name === from) ?? null;
  }

  /** Waits until `count` different codes were read from the shared screen, each after the other; returns them. */
  async waitCodes({ count = 5, limit }) {
    const codes = [];
    await this.#until(Date.now() + limit, () => `the shared screen does not advance: ${JSON.stringify(codes)}`, async () => {
      const code = await this.inPage('code');
      if (code?.number != null && (codes.length === 0 || code.number > codes.at(-1))) codes.push(code.number);
      return codes.length >= count;
    });
    return codes;
  }

  async screenshot(path) {
    await this.#page.screenshot({ path });
  }

  async evaluate(expression) {
    return this.#page.evaluate(expression);
  }

  async inPage(instrument, ...args) {
    return this.#page.evaluate(
      (name, values) => window.__calls[name](...values),
      instrument,
      args,
    );
  }

  /** Clicks once the element is there. The page itself is clicked, not a coordinate that a moving tile may cover. */
  async #click(selector, limit) {
    await this.waitSelector({ selector, limit });
    await this.#page.$eval(selector, (element) => element.click());
  }

  /**
   * Looks again and again until `condition`. Puppeteer could wait inside the page (`waitForFunction`), but makes the
   * condition of text there, which the page's Content-Security-Policy forbids; and hidden pages have no frames to wait
   * for.
   */
  async #until(end, complaint, condition) {
    for (;;) {
      if (await condition()) return;
      if (Date.now() > end) throw this.#complaint(complaint());
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }

  #complaint(what) {
    return new Error(`${this.#name ?? 'somebody'}: ${what}`);
  }
}

/** A console line as a person reads it: objects written out, which `text()` leaves at `[object Object]`. */
async function lineOf(message) {
  const level = message.type();
  const words = message.args().map(async (arg) => {
    const value = await arg.jsonValue();
    return typeof value === 'string' ? value : JSON.stringify(value);
  });
  try {
    return { level, text: words.length === 0 ? message.text() : (await Promise.all(words)).join(' ') };
  } catch {
    // The page went away before its objects were read.
    return { level, text: message.text() };
  }
}

/** See `waitState`. */
export function contains(value, wanted) {
  if (Array.isArray(wanted)) {
    return Array.isArray(value) && wanted.every((one) => value.some((other) => contains(other, one)));
  }
  if (wanted !== null && typeof wanted === 'object') {
    return (
      value !== null && typeof value === 'object' && Object.entries(wanted).every(([key, one]) => contains(value[key], one))
    );
  }
  return value === wanted;
}
