/** Joining: a token, a room, and media connected within a limit or a clear reason why not. */
import { type LocalAudioTrack, type LocalVideoTrack, Room, RoomEvent, Track } from 'livekit-client';
import { NoMediaPath } from '../problems';
import { fetchToken, type TokenRequest } from '../server';
import { resyncAfterReconnects } from './resync';
import { logConnections } from './transport';

/**
 * Milliseconds from the first contact until media must be connected. People are promised an answer within ten
 * seconds; what is left of them is for saying it.
 */
const MEDIA_DEADLINE = 9_000;

/** What somebody brings from the lobby. */
export interface OwnMedia {
  microphone: LocalAudioTrack | undefined;
  camera: LocalVideoTrack | undefined;
}

/** A call somebody is in, and the token that says so. */
export interface JoinedCall {
  room: Room;
  token: string;
}

/**
 * Joins a call and resolves once media is connected.
 *
 * Reconnecting from then on is left to livekit-client's own policy; `resync.ts` sees to what it then leaves untold.
 *
 * @throws {Refused | Unreachable | ConnectionError | NoMediaPath}
 */
export async function joinCall(request: TokenRequest): Promise<JoinedCall> {
  const token = await fetchToken(request);
  const room = new Room({ adaptiveStream: true, dynacast: true });
  logConnections(room);
  resyncAfterReconnects(room);
  let signalled = false;
  room.once(RoomEvent.SignalConnected, () => {
    signalled = true;
  });
  let late: ReturnType<typeof setTimeout> | undefined;
  const deadline = new Promise<never>((_, reject) => {
    late = setTimeout(() => {
      // Before signalling is up the limit of livekit-client's own connection attempt applies: there the network
      // between here and the page's server is the trouble, not media.
      if (signalled) reject(new NoMediaPath());
    }, MEDIA_DEADLINE);
  });
  try {
    await Promise.race([room.connect(window.location.origin, token), deadline]);
    return { room, token };
  } catch (error) {
    await room.disconnect();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

/**
 * Publishes what came from the lobby. Each that fails is reported and leaves the other alone.
 *
 * A muted microphone is published too: unmuting is then immediate.
 */
export async function publishOwn(
  room: Room,
  media: OwnMedia,
  onProblem: (kind: 'microphone' | 'camera', error: unknown) => void,
): Promise<void> {
  const { microphone, camera } = media;
  await Promise.all([
    microphone &&
      room.localParticipant
        .publishTrack(microphone, { source: Track.Source.Microphone })
        .catch((error: unknown) => onProblem('microphone', error)),
    camera &&
      room.localParticipant
        .publishTrack(camera, { source: Track.Source.Camera })
        .catch((error: unknown) => onProblem('camera', error)),
  ]);
}
