import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contains } from '../src/person.mjs';

test('a state contains what it has among other things', () => {
  const state = { phase: 'call', people: [{ name: 'Ada', hand: true }, { name: 'Bo', hand: false }], hands: [] };
  assert(contains(state, { phase: 'call', people: [{ name: 'Ada', hand: true }] }));
  assert(!contains(state, { people: [{ name: 'Bo', hand: true }] }));
  assert(contains(state, { hands: [] }));
  assert(!contains(state, { missing: null }));
});
