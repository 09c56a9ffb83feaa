import { expect, it } from 'vitest';
import { gridColumns } from './grid';

it.each([
  ['one person fills a wide stage', 1, 1600, 900, 1],
  ['two sit side by side on a desktop', 2, 1600, 900, 2],
  ['two sit above each other on a phone', 2, 380, 640, 1],
  ['four make a square', 4, 1600, 900, 2],
  ['five take three columns', 5, 1600, 900, 3],
  ['five on a phone take two columns', 5, 380, 640, 2],
  ['ten on a phone take two columns', 10, 380, 700, 2],
])('%s', (_claim, count, width, height, columns) => {
  expect(gridColumns(count, width, height, 12).columns).toBe(columns);
});

it('survives an area that is not laid out yet', () => {
  expect(gridColumns(3, 0, 0, 12)).toEqual({ columns: 1, tile: 0 });
});
