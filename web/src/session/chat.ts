/**
 * The call's chat: text streams on LiveKit's customary topic, so that its other clients read and write along.
 *
 * Nothing is stored on a server: the history is what was said while this page was in the call.
 */
import type { Room } from 'livekit-client';
import { useCallback, useEffect, useRef, useState } from 'react';

export const CHAT_TOPIC = 'lk.chat';
/** Characters in one message; longer ones belong into a document. */
export const MESSAGE_LIMIT = 4_000;
/** Messages kept; the oldest go first, so that a call of a whole day stays light. */
const HISTORY_LIMIT = 1_000;

export interface ChatMessage {
  id: string;
  /** Kept by name, because whoever wrote may have left. */
  name: string;
  identity: string;
  own: boolean;
  text: string;
  /** Milliseconds since 1970, by the writer's clock. */
  at: number;
}

/** The messages with one more: each id once, oldest first, bounded. */
export function withMessage(messages: readonly ChatMessage[], message: ChatMessage): ChatMessage[] {
  if (messages.some((known) => known.id === message.id)) return [...messages];
  return [...messages, message].slice(-HISTORY_LIMIT);
}

export type TextPart = { text: string; href?: string };

/** A message's text with its web addresses set apart, to become links. Only http and https do. */
export function linkParts(text: string): TextPart[] {
  const parts: TextPart[] = [];
  let end = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}]/gi)) {
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: match[0], href: match[0] });
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

/** Listens for messages as long as the room lives; `onMessage` sees those of others. */
export function useChat(
  room: Room,
  onMessage: (message: ChatMessage) => void,
): { messages: ChatMessage[]; send: (text: string) => Promise<void> } {
  const [messages, setMessages] = useState<ChatMessage[]>([]);
  const heard = useRef(onMessage);
  heard.current = onMessage;

  useEffect(() => {
    room.registerTextStreamHandler(CHAT_TOPIC, (reader, from) => {
      void reader
        .readAll()
        .then((text) => {
          const message: ChatMessage = {
            id: reader.info.id,
            name: room.getParticipantByIdentity(from.identity)?.name || from.identity,
            identity: from.identity,
            own: from.identity === room.localParticipant.identity,
            text: text.slice(0, MESSAGE_LIMIT),
            at: reader.info.timestamp,
          };
          if (message.text.trim() === '') return;
          setMessages((all) => withMessage(all, message));
          if (!message.own) heard.current(message);
        })
        .catch((error: unknown) => console.warn('a chat message broke off', error));
    });
    return () => room.unregisterTextStreamHandler(CHAT_TOPIC);
  }, [room]);

  const send = useCallback(
    async (text: string) => {
      const sent = await room.localParticipant.sendText(text.slice(0, MESSAGE_LIMIT), { topic: CHAT_TOPIC });
      const { identity, name } = room.localParticipant;
      setMessages((all) =>
        withMessage(all, { id: sent.id, name: name || identity, identity, own: true, text, at: sent.timestamp }),
      );
    },
    [room],
  );
  return { messages, send };
}

