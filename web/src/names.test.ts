import { expect, it } from 'vitest';
import { randomCallName } from './names';
import { callNameFrom } from './route';

it('uses the first and the last words at the ends of the range', () => {
  expect(randomCallName(() => 0)).toBe('amber-acorn-1000');
  expect(randomCallName(() => 0.999999)).toBe('wise-valley-9999');
});

it('gives names that a link carries unchanged', () => {
  for (let i = 0; i < 100; i++) {
    const name = randomCallName();
    expect(callNameFrom(name)).toBe(name);
  }
});
