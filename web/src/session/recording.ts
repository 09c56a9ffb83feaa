/** Recording the call: the host starts and stops it, and is told what became of it. */
import { type RemoteParticipant, type Room, RoomEvent } from 'livekit-client';
import { useCallback, useEffect, useRef, useState } from 'react';
import { hostRecording, Refused } from '../server';
import type { Notify } from '../ui/Notices';

export const RECORDING_TOPIC = 'calls.recording';

/** What the server tells about a recording. */
export type RecordingNews =
  | { event: 'started' }
  | { event: 'ending'; minutes: number }
  | { event: 'finished'; file: string }
  | { event: 'failed' };

/** The news in a packet; nothing if it is something else. */
export function decodeNews(payload: Uint8Array): RecordingNews | undefined {
  try {
    const news = JSON.parse(new TextDecoder().decode(payload)) as Record<string, unknown>;
    switch (news['event']) {
      case 'started':
      case 'failed':
        return { event: news['event'] };
      case 'ending':
        return typeof news['minutes'] === 'number' ? { event: 'ending', minutes: news['minutes'] } : undefined;
      case 'finished':
        return typeof news['file'] === 'string' ? { event: 'finished', file: news['file'] } : undefined;
      default:
        return undefined;
    }
  } catch {
    return undefined;
  }
}

/** What the host reads of it; nothing where the banner says enough. */
export function sentenceOf(news: RecordingNews): string | undefined {
  switch (news.event) {
    case 'started':
      return undefined;
    case 'ending':
      return `The recording ends in ${news.minutes} minutes. A new one may be started right after it.`;
    case 'finished':
      return `The recording is finished: ${news.file}`;
    case 'failed':
      return 'The recording failed. Start a new one, or ask whoever runs the server.';
  }
}

/**
 * The host's recording of a call. Everybody sees by the room itself that it is recorded; this is whose button says
 * what. `token` is the one the call was joined with, `host` whether that is who has the button.
 */
export function useRecording(
  room: Room,
  token: string,
  host: boolean,
  notify: Notify,
): { recording: boolean; toggle: () => void } {
  const [recording, setRecording] = useState(false);
  const asked = useRef(0);
  // Answers may overtake each other: only the last question counts.
  const ask = useCallback(
    async (on?: boolean) => {
      const turn = ++asked.current;
      const answer = await hostRecording(token, on);
      if (turn === asked.current) setRecording(answer);
    },
    [token],
  );

  useEffect(() => {
    if (!host) return;
    const look = () => void ask().catch((error: unknown) => console.warn('the recording is not known', error));
    const receive = (payload: Uint8Array, from?: RemoteParticipant, _kind?: unknown, topic?: string) => {
      // The server's own word comes from nobody.
      if (topic !== RECORDING_TOPIC || from !== undefined) return;
      const news = decodeNews(payload);
      const sentence = news && sentenceOf(news);
      if (sentence !== undefined) notify(sentence, news?.event === 'failed' ? 'problem' : 'news');
      look();
    };
    look();
    room.on(RoomEvent.DataReceived, receive);
    room.on(RoomEvent.RecordingStatusChanged, look);
    room.on(RoomEvent.Reconnected, look);
    return () => {
      room.off(RoomEvent.DataReceived, receive);
      room.off(RoomEvent.RecordingStatusChanged, look);
      room.off(RoomEvent.Reconnected, look);
    };
  }, [room, host, ask, notify]);

  const toggle = useCallback(() => {
    ask(!recording).catch((error: unknown) => {
      console.warn('the recording could not be started or stopped', error);
      notify(error instanceof Refused ? error.message : 'The server did not answer. Try again in a moment.');
    });
  }, [ask, recording, notify]);
  return { recording, toggle };
}
