/** Readable random names of calls: easy to say aloud, hard to guess in passing. */

const QUALITIES = [
  'amber', 'brave', 'bright', 'calm', 'clear', 'clever', 'cosy', 'early', 'gentle', 'golden', 'happy', 'honest',
  'jolly', 'kind', 'lively', 'lucky', 'mellow', 'merry', 'misty', 'nimble', 'noble', 'proud', 'quiet', 'quick',
  'rosy', 'silver', 'sunny', 'swift', 'tidy', 'warm', 'wild', 'wise',
] as const;

const THINGS = [
  'acorn', 'badger', 'beacon', 'birch', 'brook', 'canyon', 'cedar', 'cloud', 'comet', 'coral', 'falcon', 'fern',
  'forest', 'garden', 'harbor', 'heron', 'island', 'lagoon', 'lantern', 'maple', 'meadow', 'orchard', 'otter', 'owl',
  'pebble', 'pine', 'planet', 'puffin', 'river', 'robin', 'sparrow', 'valley',
] as const;

/**
 * A name such as `calm-otter-4821`.
 *
 * `random` gives a number in [0, 1) on each call. About ten million names: enough that two groups do not meet by
 * accident; whoever needs a closed door uses invitations.
 */
export function randomCallName(random: () => number = cryptoRandom): string {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)] ?? words[0];
  return `${pick(QUALITIES)}-${pick(THINGS)}-${1000 + Math.floor(random() * 9000)}`;
}

function cryptoRandom(): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32;
}
