import { expect, it } from 'vitest';
import { codeCells } from './code';

it('draws pattern, number and check row by row', () => {
  const rows = codeCells(0x1_02a5)
    .map((white) => (white ? '1' : '0'))
    .join('')
    .match(/.{8}/g);
  expect(rows).toEqual(['10110010', '00000010', '10100101', '11111101']);
});
