import { describe, expect, it } from 'vitest';
import { decodeReaction, encodeReaction, REACTIONS } from './reactions';

const bytes = (text: string) => new TextEncoder().encode(text);

describe('decodeReaction', () => {
  it.each([...REACTIONS, '👩🏽‍🚀', '🏳️‍🌈'])('finds back %s', (emoji) =>
    expect(decodeReaction(encodeReaction(emoji))).toBe(emoji),
  );

  it.each(['', 'null', '{}', '{"emoji":1}', '{"emoji":"<b>"}', '{"emoji":"👍 read this"}', `{"emoji":"${'👍'.repeat(9)}"}`])(
    'drops %s',
    (payload) => expect(decodeReaction(bytes(payload))).toBe(undefined),
  );
});
