// Starts Chromium and Firefox so that calls work in them without a screen, a microphone or a person to ask.
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import { CODE_TITLE } from './codetab.mjs';
import { Firewall } from './firewall.mjs';
import { Loudspeaker } from './sound.mjs';

/** Milliseconds for a browser to end by itself; it takes a second. */
const END_LIMIT = 5_000;

const EXECUTABLES = {
  chromium: process.env.CHROMIUM ?? '/usr/bin/chromium',
  firefox: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
};

const CHROMIUM_FLAGS = [
  // As root in a container there are no user namespaces to build a sandbox of.
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  // Several people share one machine and no window is ever on top: none of them is in the background.
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  // Whoever shares a screen shares the tab with the code. Chromium's fake devices would share a picture of their own
  // instead, and microphone and camera are ours anyway (inpage.mjs).
  `--auto-select-tab-capture-source-by-title=${CODE_TITLE}`,
  // Loopback and LAN addresses as candidates, not mDNS names that nothing here resolves.
  '--disable-features=WebRtcHideLocalIpsWithMdns,Translate,MediaRouter',
];

const FIREFOX_PREFS = {
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.autoplay.block-webaudio': false,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'app.update.enabled': false,
};

/**
 * Firefox builds its sandbox of user namespaces unless it runs as root, and in a container never gets one: then it
 * stands still while starting. Blocked ones do not run as root.
 */
const FIREFOX_UNBOXED = Object.fromEntries(
  ['CONTENT', 'SOCKET_PROCESS', 'RDD', 'UTILITY', 'GMP'].map((part) => [`MOZ_DISABLE_${part}_SANDBOX`, '1']),
);

/** A running browser. Each person in it has a context (cookies, storage) of their own. */
export class Browser {
  constructor(puppeteerBrowser, name, version, helpers) {
    this.puppeteer = puppeteerBrowser;
    this.name = name;
    this.version = version;
    this.helpers = helpers;
  }

  async close() {
    try {
      const child = this.puppeteer.process();
      const isRunning = child.exitCode === null && child.signalCode === null;
      const ended = isRunning ? once(child, 'exit', { signal: AbortSignal.timeout(END_LIMIT) }) : Promise.resolve();
      const closed = this.puppeteer.close().catch(() => child.kill('SIGKILL'));
      // A browser that does not end by itself is ended.
      await ended.catch(() => child.kill('SIGKILL'));
      await closed;
    } finally {
      await this.helpers.end();
    }
  }
}

/** Starts a browser; `params` as in README.md. */
export async function launch({ browser: name, dropUdp = false, dropTcpPorts = [], width = 1280, height = 800, limit }) {
  const executable = EXECUTABLES[name];
  if (executable === undefined) throw new Error(`there is no browser ${name}; there are chromium and firefox`);
  const helpers = await Helpers.start(name, { dropUdp, dropTcpPorts });
  const { folder, firewall, speaker } = helpers;
  try {
    const started = await puppeteer.launch({
      browser: name === 'firefox' ? 'firefox' : 'chrome',
      executablePath: firewall === undefined ? executable : await wrapper(firewall, executable, folder),
      headless: true,
      userDataDir: join(folder, 'profile'),
      args:
        name === 'chromium'
          ? [...CHROMIUM_FLAGS, `--window-size=${width},${height}`]
          : [`--width=${width}`, `--height=${height}`],
      ...(name === 'firefox' ? { extraPrefsFirefox: FIREFOX_PREFS } : {}),
      defaultViewport: { width, height },
      timeout: Math.max(limit, 60_000),
      protocolTimeout: 120_000,
      env: {
        ...process.env,
        ...speaker?.env,
        TMPDIR: folder,
        MOZ_HEADLESS_WIDTH: String(width),
        MOZ_HEADLESS_HEIGHT: String(height),
        ...FIREFOX_UNBOXED,
      },
    });
    return new Browser(started, name, await started.version(), helpers);
  } catch (error) {
    await helpers.end();
    throw new Error(`${name} did not start: ${error.message}`);
  }
}

/** What a browser needs around it: a folder, and maybe a firewall and a loudspeaker. */
class Helpers {
  /** Everything started and not yet ended, so that nothing stays when this process ends while a browser starts. */
  static alive = new Set();

  static async start(name, blocked) {
    const helpers = new Helpers();
    Helpers.alive.add(helpers);
    helpers.folder = await mkdtemp(join(tmpdir(), `calls-${name}-`));
    try {
      if (name === 'firefox') helpers.speaker = await Loudspeaker.start(helpers.folder);
      if (blocked.dropUdp || blocked.dropTcpPorts.length > 0) {
        helpers.firewall = new Firewall(blocked);
        await helpers.firewall.up(helpers.folder);
      }
      return helpers;
    } catch (error) {
      await helpers.end();
      throw error;
    }
  }

  async end() {
    Helpers.alive.delete(this);
    this.speaker?.stop();
    await this.firewall?.down();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }).catch(() => {});
  }
}

/** Ends what is left of browsers that were still starting. */
export async function endLeftovers() {
  await Promise.allSettled([...Helpers.alive].map((helpers) => helpers.end()));
}

/** A script that starts the browser as the blocked user; Puppeteer starts one executable and adds arguments. */
async function wrapper(firewall, executable, folder) {
  const path = join(folder, 'start');
  const command = firewall.command(executable, folder).join(' ');
  await writeFile(path, `#!/bin/sh\nchown -R --reference=${folder} ${folder}/profile\nexec ${command} "$@"\n`);
  await chmod(path, 0o755);
  return path;
}
