/** Emoji reactions: short-lived data packets, shown as they come and kept nowhere. */
import { type RemoteParticipant, type Room, RoomEvent } from 'livekit-client';
import { useCallback, useEffect, useRef, useState } from 'react';

export const REACTION_TOPIC = 'reaction';
/** What the page offers; others' reactions may be any emoji. */
export const REACTIONS = ['👍', '👏', '❤️', '😂', '😮', '🎉', '🤔', '👋'] as const;
/** Milliseconds a reaction stays; the animation in `call.css` lasts as long. */
export const REACTION_TIME = 4_000;
/** Reactions in the air at once; beyond it a crowd's applause would cover the call. */
const IN_THE_AIR = 30;

export interface Reaction {
  key: number;
  emoji: string;
  name: string;
  /** Where it rises, from 0 (left) to 1 (right). */
  place: number;
}

export function encodeReaction(emoji: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify({ emoji }));
}

/** The emoji in a packet; nothing if it holds anything but one short emoji. */
export function decodeReaction(payload: Uint8Array): string | undefined {
  try {
    const { emoji } = JSON.parse(new TextDecoder().decode(payload)) as { emoji?: unknown };
    if (typeof emoji !== 'string' || emoji.length > 16) return undefined;
    return /^\p{Emoji}/u.test(emoji) && !/[\p{Letter}\p{Separator}]/u.test(emoji) ? emoji : undefined;
  } catch {
    return undefined;
  }
}

/** Sends reactions and holds those in the air; `onReaction` sees those of others. */
export function useReactions(
  room: Room,
  onReaction: (emoji: string, name: string) => void,
): { reactions: Reaction[]; react: (emoji: string) => void } {
  const [reactions, setReactions] = useState<Reaction[]>([]);
  const next = useRef(0);
  const heard = useRef(onReaction);
  heard.current = onReaction;

  const show = useCallback((emoji: string, name: string) => {
    const key = next.current++;
    // Steps of the golden ratio: neighbours in time are far apart, without chance.
    const place = (key * 0.618034) % 1;
    setReactions((all) => [...all, { key, emoji, name, place }].slice(-IN_THE_AIR));
    setTimeout(() => setReactions((all) => all.filter((reaction) => reaction.key !== key)), REACTION_TIME);
  }, []);

  useEffect(() => {
    const receive = (payload: Uint8Array, from?: RemoteParticipant, _kind?: unknown, topic?: string) => {
      if (topic !== REACTION_TOPIC || from === undefined) return;
      const emoji = decodeReaction(payload);
      if (emoji === undefined) return;
      const name = from.name || from.identity;
      show(emoji, name);
      heard.current(emoji, name);
    };
    room.on(RoomEvent.DataReceived, receive);
    return () => void room.off(RoomEvent.DataReceived, receive);
  }, [room, show]);

  const react = useCallback(
    (emoji: string) => {
      show(emoji, 'You');
      room.localParticipant
        .publishData(encodeReaction(emoji), { reliable: true, topic: REACTION_TOPIC })
        .catch((error: unknown) => console.warn('a reaction was not sent', error));
    },
    [room, show],
  );
  return { reactions, react };
}
