/** What changes without moving the focus is said to screen readers, one sentence at a time. */
import { createContext, type ReactNode, useCallback, useContext, useState } from 'react';

type Announce = (sentence: string) => void;

const Context = createContext<Announce>(() => undefined);

/** Says a sentence politely: after what the reader is saying now. */
export function useAnnounce(): Announce {
  return useContext(Context);
}

export function Announcer({ children }: { children: ReactNode }) {
  const [said, setSaid] = useState({ sentence: '', count: 0 });
  const announce = useCallback((sentence: string) => setSaid(({ count }) => ({ sentence, count: count + 1 })), []);
  return (
    <Context value={announce}>
      {children}
      <div className="visually-hidden" role="status" aria-live="polite" aria-label="Announcements">
        {/* A new element each time: the same sentence twice is two events. */}
        <p key={said.count}>{said.sentence}</p>
      </div>
    </Context>
  );
}
