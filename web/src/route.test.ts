import { describe, expect, it } from 'vitest';
import { callNameFrom, callPath, isCallName, routeOf } from './route';

describe('routeOf', () => {
  it('reads the call and its invitation', () => {
    expect(routeOf({ pathname: '/c/standup', hash: '#invite=a.b-c_d' })).toEqual({
      page: 'call',
      call: 'standup',
      invite: 'a.b-c_d',
    });
  });

  it('has no invitation without a fragment', () => {
    expect(routeOf({ pathname: '/c/standup/', hash: '' })).toEqual({
      page: 'call',
      call: 'standup',
      invite: undefined,
    });
  });

  it.each(['/c/', '/c/%E0%A4%A', '/c/a/b', '/nothing', '/c/%00', `/c/${'x'.repeat(257)}`])(
    'finds no page at %s',
    (pathname) => expect(routeOf({ pathname, hash: '' })).toEqual({ page: 'missing' }),
  );

  it('finds back what a path was made of', () => {
    const path = new URL(callPath('grüße / 🎉', 'x+y=z'), 'http://localhost');
    expect(routeOf(path)).toEqual({ page: 'call', call: 'grüße / 🎉', invite: 'x+y=z' });
  });
});

describe('callNameFrom', () => {
  it.each([
    ['Monday stand-up!', 'monday-stand-up'],
    ['  Über   uns  ', 'über-uns'],
    ['朝会', '朝会'],
    ['!!!', ''],
  ])('turns %j into %j', (typed, name) => expect(callNameFrom(typed)).toBe(name));

  it('cuts long names without leaving a dash at the end', () => {
    expect(callNameFrom(`${'a'.repeat(59)} b`)).toBe('a'.repeat(59));
  });
});

describe('isCallName', () => {
  it('counts bytes, not characters', () => {
    expect(isCallName('é'.repeat(128))).toBe(true);
    expect(isCallName('é'.repeat(129))).toBe(false);
  });
});
