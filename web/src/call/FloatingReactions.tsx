/** Reactions rising over the stage. Screen readers hear them announced instead. */
import type { Reaction } from '../session/reactions';

export function FloatingReactions({ reactions }: { reactions: Reaction[] }) {
  return (
    <div className="floating" aria-hidden="true">
      {reactions.map(({ key, emoji, name, place }) => (
        <span key={key} className="floating-reaction" data-emoji={emoji} style={{ '--place': place } as React.CSSProperties}>
          <span className="floating-emoji">{emoji}</span>
          <span className="floating-name">{name}</span>
        </span>
      ))}
    </div>
  );
}
