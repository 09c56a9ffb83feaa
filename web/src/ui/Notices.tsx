/** Notices: what did not work and what to do, and what is good to know, until dismissed or ten seconds have passed. */
import { useCallback, useRef, useState } from 'react';
import { Icon } from './Icon';

export type Tone = 'problem' | 'news';

export interface Notice {
  key: number;
  text: string;
  tone: Tone;
}

/** Shows a notice; it is a problem unless it is said to be news. */
export type Notify = (text: string, tone?: Tone) => void;

/** Milliseconds a notice stays; long enough to read two sentences twice. */
const NOTICE_TIME = 10_000;
const AT_ONCE = 3;

export function useNotices(): { notices: Notice[]; notify: Notify; dismiss: (key: number) => void } {
  const [notices, setNotices] = useState<Notice[]>([]);
  const next = useRef(0);
  const dismiss = useCallback((key: number) => setNotices((all) => all.filter((notice) => notice.key !== key)), []);
  const notify = useCallback(
    (text: string, tone: Tone = 'problem') => {
      const key = next.current++;
      setNotices((all) => [...all.filter((notice) => notice.text !== text), { key, text, tone }].slice(-AT_ONCE));
      setTimeout(() => dismiss(key), NOTICE_TIME);
    },
    [dismiss],
  );
  return { notices, notify, dismiss };
}

export function Notices({ notices, dismiss }: { notices: Notice[]; dismiss: (key: number) => void }) {
  return (
    <div className="notices" role="alert">
      {notices.map((notice) => (
        <div key={notice.key} className="notice" data-tone={notice.tone}>
          <Icon name={notice.tone === 'news' ? 'check' : 'alert'} size={20} />
          <p>{notice.text}</p>
          <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => dismiss(notice.key)}>
            <Icon name="close" size={18} />
          </button>
        </div>
      ))}
    </div>
  );
}
