/** A panel beside the stage; over it where the page is narrow. */
import { type ReactNode, useEffect, useId, useRef } from 'react';
import { Icon } from '../ui/Icon';

interface Props {
  title: string;
  name: string;
  onClose: () => void;
  children: ReactNode;
}

export function Panel({ title, name, onClose, children }: Props) {
  const id = useId();
  const panel = useRef<HTMLElement>(null);
  useEffect(() => {
    // Whoever opened the panel goes on inside it, unless something in it took the focus already.
    const before = document.activeElement;
    if (!panel.current?.contains(before)) panel.current?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <aside ref={panel} className="panel" aria-labelledby={id} data-panel-name={name} tabIndex={-1}>
      <div className="panel-header">
        <h2 id={id}>{title}</h2>
        <button type="button" className="icon-button" aria-label={`Close ${title.toLowerCase()}`} onClick={onClose}>
          <Icon name="close" size={20} />
        </button>
      </div>
      {children}
    </aside>
  );
}
