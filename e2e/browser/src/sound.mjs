// A loudspeaker that swallows everything, for Firefox: without any, its audio contexts never start, and neither the
// tone nor the measuring works. Chromium has one built in.
import { spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Milliseconds for PulseAudio to open its socket; it takes a tenth of a second. */
const START_LIMIT = 10_000;

/** A PulseAudio of one browser's own, all of it inside `parent`. */
export class Loudspeaker {
  #process;

  static async start(parent) {
    // Apart from the browser's own files: those may belong to another user (firewall.mjs).
    const folder = join(parent, 'loudspeaker');
    await mkdir(folder);
    const socket = join(folder, 'socket');
    const speaker = new Loudspeaker();
    let words = '';
    // From before it starts, so that nothing is missed.
    const watcher = watch(folder);
    speaker.#process = spawn(
      'pulseaudio',
      [
        ...['-n', '--daemonize=no', '--use-pid-file=no', '--exit-idle-time=-1', '--disable-shm=yes'],
        ...['--realtime=no', '--high-priority=no', '--log-level=error'],
        ...['-L', 'module-null-sink rate=48000'],
        ...['-L', `module-native-protocol-unix auth-anonymous=1 socket=${socket}`],
      ],
      { env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder }, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    speaker.#process.stderr.on('data', (chunk) => (words = `${words}${chunk}`.slice(-1_000)));
    try {
      await new Promise((resolve, reject) => {
        const fail = (why) => reject(new Error(`pulseaudio (a Debian package) is needed for Firefox: ${why}`));
        watcher.on('change', (_, name) => name === 'socket' && resolve());
        watcher.on('error', reject);
        speaker.#process.on('error', (error) => fail(error.message));
        speaker.#process.on('exit', (code) => fail(`it ended with ${code}: ${words}`));
        const limit = AbortSignal.timeout(START_LIMIT);
        limit.addEventListener('abort', () => reject(new Error(`pulseaudio opened no socket: ${words}`)));
      });
    } catch (error) {
      speaker.stop();
      throw error;
    } finally {
      watcher.close();
    }
    /** What a browser needs in its environment to use this loudspeaker. */
    speaker.env = { PULSE_SERVER: `unix:${socket}`, PULSE_COOKIE: join(folder, 'cookie') };
    return speaker;
  }

  stop() {
    this.#process.removeAllListeners('exit');
    this.#process.kill('SIGTERM');
  }
}
