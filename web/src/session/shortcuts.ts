/** Keys in a call: one letter each, shown in the buttons' tooltips. */
import { useEffect, useRef } from 'react';

export type Action = 'microphone' | 'camera' | 'share' | 'hand' | 'chat' | 'people' | 'record';

const KEYS: Record<string, Action> = {
  m: 'microphone',
  v: 'camera',
  s: 'share',
  h: 'hand',
  c: 'chat',
  p: 'people',
  r: 'record',
};

/** The letter of an action, for tooltips and `aria-keyshortcuts`. */
export function keyOf(action: Action): string {
  return Object.entries(KEYS).find(([, other]) => other === action)?.[0]?.toUpperCase() ?? '';
}

type Stroke = Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'repeat' | 'defaultPrevented'>;

/** The action a keystroke asks for: none while writing, with a modifier, or while a key is held down. */
export function actionFor(stroke: Stroke, writing: boolean): Action | undefined {
  if (writing || stroke.ctrlKey || stroke.metaKey || stroke.altKey || stroke.repeat || stroke.defaultPrevented) {
    return undefined;
  }
  const key = stroke.key.toLowerCase();
  return Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
}

/** Whether keystrokes at an element are text. */
function isWriting(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Calls the action of a key pressed anywhere in the page. */
export function useShortcuts(actions: Record<Action, () => void>): void {
  const current = useRef(actions);
  current.current = actions;
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const action = actionFor(event, isWriting(event.target));
      if (action === undefined) return;
      event.preventDefault();
      current.current[action]();
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, []);
}
