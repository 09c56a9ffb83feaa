import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawCode, readCode } from '../src/code.mjs';

/** A canvas of our own, as far as `drawCode` needs one. */
function canvas(width, height) {
  const pixels = new Uint8ClampedArray(width * height * 4);
  const context = {
    fillStyle: '#000',
    fillRect(x, y, w, h) {
      const value = this.fillStyle === '#fff' ? 235 : 20;
      for (let row = Math.round(y); row < Math.round(y + h); row++) {
        for (let column = Math.round(x); column < Math.round(x + w); column++) {
          pixels.fill(value, (row * width + column) * 4, (row * width + column) * 4 + 4);
        }
      }
    },
  };
  return { width, height, pixels, getContext: () => context };
}

test('a number is read back at any size', () => {
  for (const [width, height] of [[320, 180], [1280, 720], [97, 55]]) {
    const picture = canvas(width, height);
    for (const number of [0, 1, 255, 256, 0xa5c3, 0xffff]) {
      drawCode(picture, number);
      assert.equal(readCode(picture.pixels, width, height), number);
    }
  }
});

test('a picture that is no code has no number', () => {
  assert.equal(readCode(new Uint8ClampedArray(320 * 180 * 4), 320, 180), null);
  assert.equal(readCode(new Uint8ClampedArray(320 * 180 * 4).fill(255), 320, 180), null);
});
