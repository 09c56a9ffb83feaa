import { expect, it } from 'vitest';
import { hueOf, initialsOf } from './Avatar';

it.each([
  ['Ada Lovelace', 'AL'],
  ['ada', 'A'],
  ['Juan Carlos de la Vega', 'JV'],
  ['李雷', '李'],
  ['🦊 fox', '🦊F'],
  ['  ', '?'],
])('%j is %s', (name, initials) => expect(initialsOf(name)).toBe(initials));

it('gives the same person the same colour', () => {
  expect(hueOf('a1b2')).toBe(hueOf('a1b2'));
  expect(hueOf('a1b2')).not.toBe(hueOf('b1a2'));
});
