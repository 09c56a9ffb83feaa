import { describe, expect, it } from 'vitest';
import { type ChatMessage, linkParts, withMessage } from './chat';

function message(id: string): ChatMessage {
  return { id, name: 'Ada', identity: 'ada', own: false, text: id, at: 0 };
}

describe('withMessage', () => {
  it('keeps each message once, in order of arrival', () => {
    const all = ['a', 'b', 'a'].map(message).reduce(withMessage, [] as ChatMessage[]);
    expect(all.map((m) => m.id)).toEqual(['a', 'b']);
  });

  it('lets the oldest go at the limit', () => {
    let all: ChatMessage[] = [];
    for (let i = 0; i <= 1000; i++) all = withMessage(all, message(String(i)));
    expect(all).toHaveLength(1000);
    expect(all[0]?.id).toBe('1');
  });
});

describe('linkParts', () => {
  it('links addresses without the punctuation around them', () => {
    expect(linkParts('See (https://example.org/a?b=c), please.')).toEqual([
      { text: 'See (' },
      { text: 'https://example.org/a?b=c', href: 'https://example.org/a?b=c' },
      { text: '), please.' },
    ]);
  });

  it('links nothing but the web', () => {
    expect(linkParts('javascript:alert(1)')).toEqual([{ text: 'javascript:alert(1)' }]);
  });
});
