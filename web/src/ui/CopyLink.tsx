/** Copies the call's link, and says so. */
import { useEffect, useState } from 'react';
import { useAnnounce } from './announce';
import { Icon } from './Icon';

export function CopyLink({ link, compact }: { link: string; compact?: boolean }) {
  const [state, setState] = useState<'ready' | 'copied' | 'failed'>('ready');
  const announce = useAnnounce();
  useEffect(() => {
    if (state !== 'copied') return;
    const timer = setTimeout(() => setState('ready'), 2_500);
    return () => clearTimeout(timer);
  }, [state]);

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link);
      setState('copied');
      announce('Link copied.');
    } catch {
      setState('failed');
    }
  };

  if (state === 'failed') {
    // The browser does not let the page write: then the person does it by hand.
    return (
      <input
        className="field link-field"
        readOnly
        value={link}
        aria-label="The call’s link, to copy by hand"
        autoFocus
        onFocus={(event) => event.target.select()}
        onBlur={() => setState('ready')}
      />
    );
  }
  const copied = state === 'copied';
  return (
    <button
      type="button"
      className={compact ? 'button button-quiet copy-link' : 'button'}
      onClick={() => void copy()}
      aria-label="Copy link"
    >
      <Icon name={copied ? 'check' : 'link'} size={18} />
      <span>{copied ? 'Copied' : 'Copy link'}</span>
    </button>
  );
}
