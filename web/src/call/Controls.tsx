/** What one can do in a call, always in reach at the bottom. */
import { type ReactNode, useEffect, useRef, useState } from 'react';
import type { PanelName } from '../pages/InCall';
import { REACTIONS } from '../session/reactions';
import { type Action, keyOf } from '../session/shortcuts';
import { Icon } from '../ui/Icon';

interface Props {
  microphone: boolean;
  camera: boolean;
  sharing: boolean;
  handRaised: boolean;
  panel: PanelName | undefined;
  unread: number;
  /** Whether this person records the call; `undefined` for who may not. */
  recording: boolean | undefined;
  onMicrophone: () => void;
  onCamera: () => void;
  onShare: () => void;
  onHand: () => void;
  onReact: (emoji: string) => void;
  onRecord: () => void;
  onPanel: (panel: PanelName) => void;
  onLeave: () => void;
}

export function Controls(props: Props) {
  return (
    <div className="controls" role="toolbar" aria-label="Call controls">
      <Toggle label={props.microphone ? 'Mute' : 'Unmute'} action="microphone" off={!props.microphone} onClick={props.onMicrophone}>
        <Icon name={props.microphone ? 'microphone' : 'microphoneOff'} />
      </Toggle>
      <Toggle
        label={props.camera ? 'Turn camera off' : 'Turn camera on'}
        action="camera"
        off={!props.camera}
        onClick={props.onCamera}
      >
        <Icon name={props.camera ? 'camera' : 'cameraOff'} />
      </Toggle>
      {'getDisplayMedia' in (navigator.mediaDevices ?? {}) && (
        <Toggle
          label={props.sharing ? 'Stop sharing' : 'Share screen'}
          action="share"
          active={props.sharing}
          onClick={props.onShare}
        >
          <Icon name="screen" />
        </Toggle>
      )}
      <span className="controls-gap" />
      <Toggle
        label={props.handRaised ? 'Lower hand' : 'Raise hand'}
        action="hand"
        active={props.handRaised}
        onClick={props.onHand}
      >
        <Icon name="hand" />
      </Toggle>
      <ReactionMenu onReact={props.onReact} />
      <Toggle
        label={props.unread > 0 ? `Chat, ${props.unread} unread` : 'Chat'}
        action="chat"
        active={props.panel === 'chat'}
        onClick={() => props.onPanel('chat')}
      >
        <Icon name="chat" />
        {props.unread > 0 && <span className="count">{props.unread > 9 ? '9+' : props.unread}</span>}
      </Toggle>
      {props.recording !== undefined && (
        <Toggle
          label={props.recording ? 'Stop recording' : 'Record the call'}
          action="record"
          active={props.recording}
          onClick={props.onRecord}
        >
          <Icon name={props.recording ? 'recordStop' : 'record'} />
        </Toggle>
      )}
      <span className="controls-gap" />
      <button type="button" className="control control-leave" aria-label="Leave" title="Leave" onClick={props.onLeave}>
        <Icon name="leave" />
      </button>
    </div>
  );
}

interface ToggleProps {
  label: string;
  action: Action;
  /** Switched off, where off is what to notice: muted, no camera. */
  off?: boolean;
  /** Switched on, where on is what to notice: sharing, a raised hand, an open panel. */
  active?: boolean;
  onClick: () => void;
  children: ReactNode;
}

function Toggle({ label, action, off, active, onClick, children }: ToggleProps) {
  return (
    <button
      type="button"
      className="control"
      data-action={action}
      data-off={off}
      data-active={active}
      // The label says what the button does next, so it takes no pressed state beside it.
      aria-label={label}
      aria-keyshortcuts={keyOf(action)}
      title={`${label} (${keyOf(action)})`}
      onClick={onClick}
    >
      {children}
    </button>
  );
}

/** A button that opens a row of emoji; arrows move along it, Escape closes it. */
function ReactionMenu({ onReact }: { onReact: (emoji: string) => void }) {
  const [open, setOpen] = useState(false);
  const menu = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!open) return;
    menu.current?.querySelector('button')?.focus();
    const outside = (event: PointerEvent) => {
      if (event.target instanceof Node && !menu.current?.contains(event.target) && !button.current?.contains(event.target)) {
        setOpen(false);
      }
    };
    window.addEventListener('pointerdown', outside);
    return () => window.removeEventListener('pointerdown', outside);
  }, [open]);

  const move = (event: React.KeyboardEvent) => {
    const buttons = [...(menu.current?.querySelectorAll('button') ?? [])];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step !== undefined) buttons.at((at + step) % buttons.length)?.focus();
    if (event.key === 'Escape') {
      event.preventDefault();
      setOpen(false);
      button.current?.focus();
    }
  };

  return (
    <div className="reaction-menu" onKeyDown={open ? move : undefined}>
      <button
        ref={button}
        type="button"
        className="control"
        data-active={open}
        aria-label="React"
        aria-haspopup="true"
        aria-expanded={open}
        title="React"
        onClick={() => setOpen(!open)}
      >
        <Icon name="smile" />
      </button>
      {open && (
        <div ref={menu} className="reactions-row" role="group" aria-label="Reactions">
          {REACTIONS.map((emoji) => (
            <button key={emoji} type="button" aria-label={`React with ${emoji}`} onClick={() => onReact(emoji)}>
              {emoji}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
