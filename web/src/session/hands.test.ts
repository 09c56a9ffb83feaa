import { expect, it } from 'vitest';
import { raisedHands } from './hands';

function person(identity: string, raised_hand?: string) {
  return { identity, attributes: (raised_hand === undefined ? {} : { raised_hand }) as Record<string, string> };
}

it('orders hands by the time they were raised', () => {
  const hands = raisedHands([
    person('late', '2026-01-01T10:00:02Z'),
    person('down', ''),
    person('never'),
    person('early', '2026-01-01T10:00:01.5Z'),
    person('nonsense', 'up!'),
    person('elsewhere', '2026-01-01T11:00:00+01:00'),
  ]);
  expect(hands.map((participant) => participant.identity)).toEqual(['elsewhere', 'early', 'late']);
});

it('orders hands of the same instant alike for everybody', () => {
  const at = '2026-01-01T10:00:00Z';
  expect(raisedHands([person('b', at), person('a', at)]).map((p) => p.identity)).toEqual(['a', 'b']);
});
