/** One person's tile, and the large view of a shared screen. */
import { type TrackReference, useIsSpeaking, VideoTrack } from '@livekit/components-react';
import type { Participant } from 'livekit-client';
import { handRaisedAt } from '../session/hands';
import { Avatar } from '../ui/Avatar';
import { Icon } from '../ui/Icon';
import { displayName, isHost, nameOf } from './person';

export function Tile({ participant, camera }: { participant: Participant; camera: TrackReference | undefined }) {
  const speaking = useIsSpeaking(participant);
  const muted = !participant.isMicrophoneEnabled;
  const raised = handRaisedAt(participant) !== undefined;
  const seen = camera !== undefined && !camera.publication.isMuted && camera.publication.track !== undefined;
  const host = isHost(participant);
  const state = [muted && 'muted', host && 'host', raised && 'hand raised', speaking && 'speaking'].filter(Boolean);
  return (
    <div
      className="tile"
      role="listitem"
      aria-label={[displayName(participant), ...state].join(', ')}
      data-identity={participant.identity}
      data-name={nameOf(participant)}
      data-speaking={speaking}
      data-muted={muted}
      data-hand={raised}
      data-host={host}
    >
      {seen ? (
        <VideoTrack trackRef={camera} className={participant.isLocal ? 'mirrored' : undefined} />
      ) : (
        <Avatar name={nameOf(participant)} identity={participant.identity} />
      )}
      {raised && (
        <span className="tile-hand" title="Raised hand">
          ✋
        </span>
      )}
      <span className="tile-name">
        {muted && <Icon name="microphoneOff" size={16} />}
        <span className="tile-name-text">{displayName(participant)}</span>
        {host && <span className="badge">Host</span>}
      </span>
    </div>
  );
}

export function SharedScreen({ share }: { share: TrackReference }) {
  const name = nameOf(share.participant);
  return (
    <figure className="shared" aria-label={`Screen of ${name}`} data-share={share.participant.identity}>
      <VideoTrack trackRef={share} />
      <figcaption>
        <Icon name="screen" size={16} />
        {name} shares a screen
      </figcaption>
    </figure>
  );
}
