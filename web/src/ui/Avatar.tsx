/** A person without a picture: initials on a colour of their own. */

/** One or two letters: of the first and the last word of a name. */
export function initialsOf(name: string): string {
  const words = name.trim().split(/\s+/);
  const first = (word: string | undefined) => (word === undefined ? '' : (Array.from(word)[0] ?? ''));
  return (first(words[0]) + (words.length > 1 ? first(words.at(-1)) : '')).toUpperCase() || '?';
}

/** A hue in degrees that is the same for the same text everywhere. */
export function hueOf(text: string): number {
  let hash = 0;
  for (const char of text) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  return hash % 360;
}

export function Avatar({ name, identity, small }: { name: string; identity: string; small?: boolean }) {
  return (
    <span
      className={small ? 'avatar avatar-small' : 'avatar'}
      style={{ '--hue': hueOf(identity) } as React.CSSProperties}
      aria-hidden="true"
    >
      {initialsOf(name)}
    </span>
  );
}
