import { expect, it } from 'vitest';
import { decodeNews, sentenceOf } from './recording';

const packet = (text: string) => new TextEncoder().encode(text);

it('reads what the server tells about a recording', () => {
  expect(decodeNews(packet('{"event":"started","id":"EG_1"}'))).toEqual({ event: 'started' });
  expect(decodeNews(packet('{"event":"ending","minutes":10}'))).toEqual({ event: 'ending', minutes: 10 });
  expect(decodeNews(packet('{"event":"finished","file":"a.webm"}'))).toEqual({ event: 'finished', file: 'a.webm' });
  for (const other of ['{"event":"ending"}', '{"event":"finished"}', '{"event":"danced"}', '7', 'null', '{', '']) {
    expect(decodeNews(packet(other)), other).toBeUndefined();
  }
});

it('says what the banner does not', () => {
  expect(sentenceOf({ event: 'started' })).toBeUndefined();
  expect(sentenceOf({ event: 'ending', minutes: 10 })).toContain('in 10 minutes');
  expect(sentenceOf({ event: 'finished', file: 'a.webm' })).toContain('a.webm');
});
