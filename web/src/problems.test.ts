import { ConnectionError, DisconnectReason } from 'livekit-client';
import { describe, expect, it } from 'vitest';
import { deviceProblem, endProblem, isCancelled, joinProblem, NoMediaPath } from './problems';
import { Refused, Unreachable } from './server';

function named(name: string, message = ''): Error {
  return Object.assign(new Error(message), { name });
}

describe('joinProblem', () => {
  it('gives the server’s own sentence when it refuses', () => {
    expect(joinProblem(new Refused('This link has expired: ask for a new one.'))).toMatchObject({
      advice: 'This link has expired: ask for a new one.',
      retry: false,
    });
  });

  it('names UDP and TCP when no media gets through', () => {
    expect(joinProblem(new NoMediaPath()).advice).toMatch(/^Your network lets neither UDP nor TCP media through/);
  });

  it.each([
    [new Unreachable('x'), /does not answer/],
    [ConnectionError.serverUnreachable('x'), /does not answer/],
    [ConnectionError.serverUnreachable('x', 503), /no more people/],
    [ConnectionError.notAllowed('x', 401), /cannot join/],
    [ConnectionError.leaveRequest('x', DisconnectReason.SERVER_SHUTDOWN), /being restarted/],
    [new Error('odd'), /could not be joined/],
  ])('has a title for %s', (error, title) => expect(joinProblem(error).title).toMatch(title));

  it('advises a next step in whole sentences', () => {
    for (const error of [new NoMediaPath(), new Unreachable('x'), new Error('odd')]) {
      expect(joinProblem(error).advice).toMatch(/^[A-Z].*\.$/s);
    }
  });
});

describe('endProblem', () => {
  it('is silent when the person left', () => {
    expect(endProblem(DisconnectReason.CLIENT_INITIATED)).toBeUndefined();
  });

  it('says that the connection was lost when nobody gave a reason', () => {
    expect(endProblem(undefined)?.title).toBe('The connection was lost');
  });
});

describe('deviceProblem', () => {
  it.each([
    ['NotAllowedError', /blocks the microphone/],
    ['NotFoundError', /No microphone was found/],
    ['NotReadableError', /in use by another program/],
    ['WeirdError', /did not start \(boom\)/],
  ])('explains %s', (name, words) => expect(deviceProblem('microphone', named(name, 'boom'), true)).toMatch(words));

  it('says HTTPS first where the page is not secure', () => {
    expect(deviceProblem('camera', named('TypeError'), false)).toMatch(/only to pages on HTTPS/);
  });
});

describe('isCancelled', () => {
  it('tells a closed picker from a forbidding system', () => {
    expect(isCancelled(named('NotAllowedError', 'Permission denied by user'))).toBe(true);
    expect(isCancelled(named('NotAllowedError', 'Permission denied by system'))).toBe(false);
    expect(isCancelled(named('NotReadableError'))).toBe(false);
  });
});
