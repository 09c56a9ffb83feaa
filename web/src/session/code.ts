/**
 * A number drawn as a picture, to be read back at the far end of a shared screen: whoever sees the number grow knows
 * that new frames arrive.
 *
 * The frame is divided into 8 × 4 cells, black or white, row by row, most significant bit first:
 *
 * | row | meaning |
 * | --- | --- |
 * | 0 | the fixed pattern `10110010`, by which a reader knows a code from any other picture |
 * | 1, 2 | the number, 16 bits |
 * | 3 | check: high byte XOR low byte XOR `0x5a` |
 *
 * Cells are large, so that they survive scaling and a low bitrate.
 */

export const CODE_COLUMNS = 8;
export const CODE_ROWS = 4;
const PATTERN = 0b1011_0010;

/** The cells of a number (its lowest 16 bits), row by row; true is white. */
export function codeCells(number: number): boolean[] {
  const high = (number >> 8) & 0xff;
  const low = number & 0xff;
  return [PATTERN, high, low, high ^ low ^ 0x5a].flatMap((byte) =>
    Array.from({ length: 8 }, (_, bit) => ((byte >> (7 - bit)) & 1) === 1),
  );
}

/** Draws a number over a whole canvas. */
export function drawCode(canvas: HTMLCanvasElement, number: number): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const width = canvas.width / CODE_COLUMNS;
  const height = canvas.height / CODE_ROWS;
  codeCells(number).forEach((white, index) => {
    context.fillStyle = white ? '#fff' : '#000';
    context.fillRect((index % CODE_COLUMNS) * width, Math.floor(index / CODE_COLUMNS) * height, width, height);
  });
}
