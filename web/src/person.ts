/** Who this browser is: an identity nobody types, and the name and choices its person made last time. */

const KEY = 'calls.person';

/** What the browser remembers of its person. */
export interface Person {
  /** A random id; the same person keeps it across calls, so that coming back replaces the old session. */
  identity: string;
  /** The name others see; empty until it was typed once. */
  name: string;
  microphone: string | undefined;
  camera: string | undefined;
  /** Whether the camera was on when the last call was joined. */
  cameraOn: boolean;
}

/** Reads what was remembered. Damaged or forbidden storage gives a new person. */
export function rememberedPerson(storage: Pick<Storage, 'getItem'> | undefined = storageOrNone()): Person {
  let stored: Partial<Record<keyof Person, unknown>> = {};
  try {
    stored = JSON.parse(storage?.getItem(KEY) ?? '{}') ?? {};
  } catch {
    // Not ours, or half written: begin anew.
  }
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);
  return {
    identity: text(stored.identity) ?? randomId(),
    name: text(stored.name) ?? '',
    microphone: text(stored.microphone),
    camera: text(stored.camera),
    cameraOn: stored.cameraOn === true,
  };
}

/** Remembers; a browser that forbids it is asked again next time, which harms nobody. */
export function rememberPerson(person: Person, storage: Pick<Storage, 'setItem'> | undefined = storageOrNone()): void {
  try {
    storage?.setItem(KEY, JSON.stringify(person));
  } catch {
    // Private windows and full disks.
  }
}

/**
 * The identity this tab joins with.
 *
 * Two tabs of one browser are two people in a call (one identity can be there only once), so the first tab holds a
 * lock on the remembered identity for as long as it lives, and any further tab takes one of its own.
 */
export async function identityForThisTab(remembered: string): Promise<string> {
  const locks = navigator.locks as LockManager | undefined;
  if (locks === undefined) return remembered;
  return new Promise((resolve) => {
    locks
      .request(`calls.identity.${remembered}`, { ifAvailable: true }, (lock) => {
        if (lock === null) {
          resolve(randomId());
          return undefined;
        }
        resolve(remembered);
        // Held until the tab closes.
        return new Promise<never>(() => undefined);
      })
      .catch(() => resolve(remembered));
  });
}

function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function storageOrNone(): Storage | undefined {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}
