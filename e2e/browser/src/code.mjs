// A number drawn as a picture, to be read back at the far end of a shared screen: whoever sees the number grow knows
// that new frames arrive.
//
// The frame is divided into 8 × 4 large cells, black or white, row by row, most significant bit first. They survive
// scaling and a low bitrate.
//
// | row | meaning |
// | --- | --- |
// | 0 | the fixed pattern `10110010`, by which a reader knows a code from any other picture |
// | 1, 2 | the number, 16 bits |
// | 3 | check: high byte XOR low byte XOR `0x5a` |
//
// Both functions are sent into pages as text, so each stands alone.

/** Draws a number (16 bits) over a whole canvas: 8 × 4 cells, pattern, high byte, low byte, check. */
export function drawCode(canvas, number) {
  const context = canvas.getContext('2d');
  const high = (number >> 8) & 0xff;
  const low = number & 0xff;
  [0b1011_0010, high, low, high ^ low ^ 0x5a].forEach((byte, row) => {
    for (let column = 0; column < 8; column++) {
      context.fillStyle = (byte >> (7 - column)) & 1 ? '#fff' : '#000';
      context.fillRect((column * canvas.width) / 8, (row * canvas.height) / 4, canvas.width / 8, canvas.height / 4);
    }
  });
}

/**
 * Reads the number out of a picture: `pixels` are RGBA bytes, row by row.
 *
 * Null if the picture is no code. Looks at the middle of each cell, where scaling and compression blur least.
 */
export function readCode(pixels, width, height) {
  const bytes = [];
  for (let row = 0; row < 4; row++) {
    let byte = 0;
    for (let column = 0; column < 8; column++) {
      let sum = 0;
      let count = 0;
      for (let dy = 3; dy <= 7; dy++) {
        for (let dx = 3; dx <= 7; dx++) {
          const x = Math.floor(((column + dx / 10) * width) / 8);
          const y = Math.floor(((row + dy / 10) * height) / 4);
          sum += pixels[(y * width + x) * 4 + 1];
          count++;
        }
      }
      byte = (byte << 1) | (sum / count > 127 ? 1 : 0);
    }
    bytes.push(byte);
  }
  const [pattern, high, low, check] = bytes;
  return pattern === 0b1011_0010 && (high ^ low ^ 0x5a) === check ? (high << 8) | low : null;
}
