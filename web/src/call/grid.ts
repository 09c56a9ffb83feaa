/** How many columns a grid of equal tiles needs for its tiles to be as large as possible. */

/** Width by height of a tile: wide as cameras are, square where the page is upright, as phones are held. */
export function tileRatio(width: number, height: number): number {
  return width < height ? 1 : 16 / 10;
}

/**
 * The columns for `count` tiles in an area (pixels), with a gap between them.
 *
 * Tries every number of columns: calls are small, and a closed formula would get the last row wrong.
 */
export function gridColumns(count: number, width: number, height: number, gap: number): { columns: number; tile: number } {
  const ratio = tileRatio(width, height);
  let best = { columns: 1, tile: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(count / columns);
    const byWidth = (width - gap * (columns - 1)) / columns;
    const byHeight = ((height - gap * (rows - 1)) / rows) * ratio;
    const tile = Math.floor(Math.max(0, Math.min(byWidth, byHeight)));
    if (tile > best.tile) best = { columns, tile };
  }
  return best;
}
