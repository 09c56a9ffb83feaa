/**
 * Raised hands. A hand is its owner's attribute `raised_hand`, holding the time it was raised (RFC 3339; empty when
 * lowered), so that the server keeps it for those who join later.
 */
import { type Participant, type Room, RoomEvent } from 'livekit-client';
import { useCallback, useEffect, useRef } from 'react';

export const HAND_ATTRIBUTE = 'raised_hand';

type WithHand = Pick<Participant, 'identity' | 'attributes'>;

/** When somebody raised their hand, in milliseconds; nothing while it is down or the value makes no sense. */
export function handRaisedAt(participant: WithHand): number | undefined {
  const time = Date.parse(participant.attributes[HAND_ATTRIBUTE] ?? '');
  return Number.isNaN(time) ? undefined : time;
}

/** Those with a raised hand, in the order of raising. */
export function raisedHands<P extends WithHand>(participants: readonly P[]): P[] {
  return participants
    .map((participant) => ({ participant, at: handRaisedAt(participant) }))
    .filter((entry): entry is { participant: P; at: number } => entry.at !== undefined)
    .sort((a, b) => a.at - b.at || (a.participant.identity < b.participant.identity ? -1 : 1))
    .map((entry) => entry.participant);
}

/**
 * Raises and lowers the own hand, and keeps it up across a full reconnect, after which the server sees a new session
 * that knows nothing of it.
 */
export function useOwnHand(room: Room, onProblem: (error: unknown) => void): { toggle: () => void } {
  const wanted = useRef('');
  const write = useCallback(
    (value: string) => {
      wanted.current = value;
      room.localParticipant.setAttributes({ [HAND_ATTRIBUTE]: value }).catch(onProblem);
    },
    [room, onProblem],
  );

  useEffect(() => {
    const again = () => {
      const current = room.localParticipant.attributes[HAND_ATTRIBUTE] ?? '';
      if (current !== wanted.current) write(wanted.current);
    };
    room.on(RoomEvent.Reconnected, again);
    return () => void room.off(RoomEvent.Reconnected, again);
  }, [room, write]);

  const toggle = useCallback(() => {
    write(handRaisedAt(room.localParticipant) === undefined ? new Date().toISOString() : '');
  }, [room, write]);
  return { toggle };
}
