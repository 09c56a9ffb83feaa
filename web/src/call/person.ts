/** What the page calls people, and marks of theirs. */
import type { Participant } from 'livekit-client';

/** The attribute by which the server marks the host: the first in the call, then whoever is there longest. */
const HOST_ATTRIBUTE = 'host';

type Named = Pick<Participant, 'name' | 'identity'>;

export function nameOf(participant: Named): string {
  return participant.name || participant.identity;
}

/** With `(you)` behind one's own name. */
export function displayName(participant: Named & Pick<Participant, 'isLocal'>): string {
  return participant.isLocal ? `${nameOf(participant)} (you)` : nameOf(participant);
}

export function isHost(participant: Pick<Participant, 'attributes'>): boolean {
  return participant.attributes[HOST_ATTRIBUTE] === 'true';
}
