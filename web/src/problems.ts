/**
 * What went wrong, said to a person: a title, and a sentence with what to do next.
 *
 * Everything here is pure; the words are tested for each cause.
 */
import { ConnectionError, ConnectionErrorReason, DisconnectReason } from 'livekit-client';
import { Refused, Unreachable } from './server';

export interface Problem {
  title: string;
  advice: string;
  /** Whether trying the same again may help; decides if the page offers it. */
  retry: boolean;
}

/** Media found no way through within the time a person is willing to wait; see `session/join.ts`. */
export class NoMediaPath extends Error {
  override readonly name = 'NoMediaPath';
}

/** Why joining failed. */
export function joinProblem(error: unknown): Problem {
  if (error instanceof Refused) {
    return { title: 'You cannot join this call', advice: error.message, retry: false };
  }
  if (error instanceof NoMediaPath) {
    return {
      title: 'Sound and video cannot get through',
      advice:
        'Your network lets neither UDP nor TCP media through to the calls server. Try another network, such as a ' +
        'phone’s hotspot, or switch a VPN off; if you are at work, ask whoever runs the network to allow the ' +
        'media ports of this server.',
      retry: true,
    };
  }
  if (error instanceof ConnectionError) {
    if (error.reason === ConnectionErrorReason.LeaveRequest) {
      return endProblem(error.context as DisconnectReason) ?? busy;
    }
    if (error.status === 503) return busy;
    if (error.reason === ConnectionErrorReason.NotAllowed) {
      return {
        title: 'You cannot join this call',
        advice:
          'The server did not accept your permission to join; it may have expired. Load the page again, and if that ' +
          'does not help, ask for a new link.',
        retry: true,
      };
    }
    return unreachable;
  }
  if (error instanceof Unreachable) return unreachable;
  return {
    title: 'The call could not be joined',
    advice: `Load the page again. If it happens once more, tell whoever runs this server: “${textOf(error)}”.`,
    retry: true,
  };
}

/** Why a call ended that the person did not leave; nothing if they did. */
export function endProblem(reason: DisconnectReason | undefined): Problem | undefined {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return undefined;
    case DisconnectReason.DUPLICATE_IDENTITY:
      return {
        title: 'You joined from somewhere else',
        advice: 'This call goes on in another tab or window. Join here to move it back.',
        retry: true,
      };
    case DisconnectReason.PARTICIPANT_REMOVED:
      return {
        title: 'You were removed from the call',
        advice: 'Ask the host if you think that this was a mistake.',
        retry: false,
      };
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return { title: 'The call has ended', advice: 'Its link stays the same: join again to start it anew.', retry: true };
    case DisconnectReason.SERVER_SHUTDOWN:
      return {
        title: 'The server is being restarted',
        advice: 'Join again; if that does not work yet, wait half a minute.',
        retry: true,
      };
    default:
      return {
        title: 'The connection was lost',
        advice: 'Check that you are online, then join again.',
        retry: true,
      };
  }
}

const unreachable: Problem = {
  title: 'The calls server does not answer',
  advice: 'Check that you are online, then try again. If others cannot join either, tell whoever runs this server.',
  retry: true,
};

const busy: Problem = {
  title: 'The server takes no more people right now',
  advice: 'The call is full, or the server is being restarted. Try again in half a minute.',
  retry: true,
};

export type DeviceKind = 'microphone' | 'camera' | 'screen';

/** Why a device does not work, in one sentence with what to do. `secure` is `window.isSecureContext`. */
export function deviceProblem(kind: DeviceKind, error: unknown, secure: boolean): string {
  if (!secure) {
    return (
      `Browsers give the ${kind} only to pages on HTTPS or on this very computer: ` +
      'open this call with https:// (or on localhost).'
    );
  }
  const name = error instanceof Error || error instanceof DOMException ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return kind === 'screen'
        ? 'Your system does not let the browser record the screen: allow it in the system’s privacy settings, then try again.'
        : `Your browser blocks the ${kind}: allow it with the icon beside the address, then try again.`;
    case 'NotFoundError':
    case 'OverconstrainedError':
      return `No ${kind} was found: plug one in, or go on without.`;
    case 'NotReadableError':
    case 'AbortError':
      return `The ${kind} is in use by another program: close it there, then try again.`;
    case 'PublishTrackError':
      return `The server did not take your ${kind}: you may not be allowed to send it in this call.`;
    default:
      return `The ${kind} did not start (${textOf(error)}): try again, or choose another one in the settings.`;
  }
}

/**
 * Whether an error from choosing what to share is only a person who changed their mind.
 *
 * Browsers answer both a cancelled picker and a forbidding system with `NotAllowedError`; Chromium names the system.
 */
export function isCancelled(error: unknown): boolean {
  return error instanceof Error && error.name === 'NotAllowedError' && !/system/i.test(error.message);
}

function textOf(error: unknown): string {
  return error instanceof Error && error.message !== '' ? error.message : String(error);
}
