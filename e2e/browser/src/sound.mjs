// A loudspeaker that swallows everything, for Firefox: without any, its audio contexts never start, and neither the
// tone nor the measuring works. Chromium has one built in.
import { spawn } from 'node:child_process';
import { access, mkdir } from 'node:fs/promises';
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
    let failed;
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
    speaker.#process.on('error', (error) => (failed = error.message));
    speaker.#process.on('exit', (code) => (failed ??= `it ended with ${code}: ${words}`));
    speaker.#process.stderr.on('data', (chunk) => (words = `${words}${chunk}`.slice(-1_000)));
    for (const end = Date.now() + START_LIMIT; ; ) {
      if (failed !== undefined) throw new Error(`pulseaudio (a Debian package) is needed for Firefox: ${failed}`);
      if (await access(socket).then(() => true, () => false)) break;
      if (Date.now() > end) throw new Error(`pulseaudio opened no socket: ${words}`);
      await new Promise((resolve) => setTimeout(resolve, 30));
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
