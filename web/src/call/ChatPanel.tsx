/** What people write beside talking. */
import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { type ChatMessage, linkParts, MESSAGE_LIMIT } from '../session/chat';
import { Avatar } from '../ui/Avatar';
import { Icon } from '../ui/Icon';
import { Panel } from './Panel';

interface Props {
  messages: ChatMessage[];
  send: (text: string) => Promise<void>;
  onClose: () => void;
  onProblem: (sentence: string) => void;
}

/** Messages of one person within this time (milliseconds) share a heading. */
const TOGETHER = 5 * 60_000;

export function ChatPanel({ messages, send, onClose, onProblem }: Props) {
  const [text, setText] = useState('');
  const input = useRef<HTMLTextAreaElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const atEnd = useRef(true);

  useEffect(() => input.current?.focus(), []);
  useLayoutEffect(() => {
    // Follows the talk, unless the person scrolled back to read.
    if (atEnd.current) list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [messages]);

  const submit = async () => {
    const message = text.trim();
    if (message === '') return;
    setText('');
    try {
      await send(message);
    } catch (error) {
      console.warn('a chat message was not sent', error);
      setText(message);
      onProblem('Your message was not sent: wait until you are connected again, then send it once more.');
    }
  };

  return (
    <Panel title="Chat" name="chat" onClose={onClose}>
      {messages.length === 0 && (
        <p className="panel-empty">No messages yet. Everybody in the call sees what you write here; those who join later do not.</p>
      )}
      <ol
        ref={list}
        className="messages"
        tabIndex={0}
        aria-label="Messages"
        onScroll={({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => {
          atEnd.current = scrollTop + clientHeight > scrollHeight - 40;
        }}
      >
        {messages.map((message, index) => (
          <Message key={message.id} message={message} before={messages[index - 1]} />
        ))}
      </ol>
      <form
        className="chat-form"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <textarea
          ref={input}
          className="field"
          rows={1}
          value={text}
          maxLength={MESSAGE_LIMIT}
          placeholder="Write a message"
          aria-label="Write a message"
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) {
              event.preventDefault();
              void submit();
            }
          }}
        />
        <button type="submit" className="icon-button send" aria-label="Send" disabled={text.trim() === ''}>
          <Icon name="send" />
        </button>
      </form>
    </Panel>
  );
}

function Message({ message, before }: { message: ChatMessage; before: ChatMessage | undefined }) {
  const together = before?.identity === message.identity && message.at - before.at < TOGETHER;
  return (
    <li className="message" data-own={message.own} data-together={together} data-from={message.name}>
      {!together && (
        <div className="message-head">
          <Avatar small name={message.name} identity={message.identity} />
          <strong>{message.own ? 'You' : message.name}</strong>
          <time dateTime={new Date(message.at).toISOString()}>
            {new Date(message.at).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' })}
          </time>
        </div>
      )}
      <p className="message-text">
        {linkParts(message.text).map((part, index) =>
          part.href === undefined ? (
            part.text
          ) : (
            <a key={index} href={part.href} target="_blank" rel="noopener noreferrer">
              {part.text}
            </a>
          ),
        )}
      </p>
    </li>
  );
}
