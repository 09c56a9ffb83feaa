// Blocks one browser's media in the kernel, as a strict network would, and nobody else's.
//
// Browsers' own switches are no substitute: Chromium's WebRTC IP policy also changes which candidates it gathers, and
// Firefox has another one. So the browser runs as a user of its own, and packets of that user are dropped on their way
// out (iptables, `owner` match). Needs root.
import { execFile } from 'node:child_process';
import { chown } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The first of the user ids given to blocked browsers; Debian gives none of this range to anybody. */
const FIRST_UID = 64_200;
let next = FIRST_UID + (process.pid % 400) * 2;

/** What keeps one browser's packets from leaving. */
export class Firewall {
  #uid = next++;
  #rules;

  /** `dropUdp`: all UDP. `dropTcpPorts`: TCP to these ports of any server. */
  constructor({ dropUdp, dropTcpPorts }) {
    const owner = ['-m', 'owner', '--uid-owner', String(this.#uid), '-j', 'DROP'];
    this.#rules = [
      ...(dropUdp ? [['-p', 'udp', ...owner]] : []),
      ...dropTcpPorts.map((port) => ['-p', 'tcp', '--dport', String(port), ...owner]),
    ];
  }

  /** Puts the rules in place and gives `folder`, the browser's profile, to the blocked user. */
  async up(folder) {
    for (const rule of this.#rules) await iptables('-I', rule);
    await chown(folder, this.#uid, this.#uid);
  }

  async down() {
    for (const rule of this.#rules) await iptables('-D', rule).catch(() => {});
  }

  /** The command line that runs `executable` as the blocked user, with `folder` as its home. */
  command(executable, folder) {
    const uid = String(this.#uid);
    return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', 'env', `HOME=${folder}`, executable];
  }
}

/** Both families: a browser that loses IPv4 goes on over IPv6. */
async function iptables(verb, rule) {
  for (const program of ['iptables', 'ip6tables']) {
    try {
      await run(program, ['-w', verb, 'OUTPUT', ...rule]);
    } catch (error) {
      throw new Error(`cannot block a browser's media (${program} as root is needed): ${error.stderr || error.message}`);
    }
  }
}
