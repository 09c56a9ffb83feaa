import { describe, expect, it } from 'vitest';
import { actionFor, keyOf } from './shortcuts';

const stroke = { key: 'm', ctrlKey: false, metaKey: false, altKey: false, repeat: false, defaultPrevented: false };

describe('actionFor', () => {
  it('mutes on M, large or small', () => {
    expect(actionFor(stroke, false)).toBe('microphone');
    expect(actionFor({ ...stroke, key: 'M' }, false)).toBe('microphone');
  });

  it('leaves text, the browser’s own keys and held keys alone', () => {
    expect(actionFor(stroke, true)).toBe(undefined);
    expect(actionFor({ ...stroke, ctrlKey: true }, false)).toBe(undefined);
    expect(actionFor({ ...stroke, repeat: true }, false)).toBe(undefined);
    expect(actionFor({ ...stroke, key: 'toString' }, false)).toBe(undefined);
  });
});

it('names the key of each action', () => {
  expect((['microphone', 'camera', 'share', 'hand', 'chat'] as const).map(keyOf)).toEqual(['M', 'V', 'S', 'H', 'C']);
});
