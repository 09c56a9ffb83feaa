/** What is true about the call as a whole right now: reconnecting, silent, recorded, sharing. */
import { useIsRecording, useStartAudio } from '@livekit/components-react';
import { ConnectionState, type Room } from 'livekit-client';
import { Icon } from '../ui/Icon';

interface Props {
  room: Room;
  connection: ConnectionState;
  sharing: boolean;
  onStopSharing: () => void;
}

export function Banners({ room, connection, sharing, onStopSharing }: Props) {
  const sound = useStartAudio({ room, props: {} });
  const recorded = useIsRecording(room);
  return (
    <div className="banners">
      {connection === ConnectionState.Reconnecting && (
        <div className="banner banner-warning" role="alert" data-banner="reconnecting">
          <span className="spinner" aria-hidden="true" />
          The connection broke off. Reconnecting… stay here, you will be back in a moment.
        </div>
      )}
      {connection === ConnectionState.SignalReconnecting && (
        <div className="banner banner-warning" role="status" data-banner="resuming">
          <span className="spinner" aria-hidden="true" />
          Reconnecting to the server…
        </div>
      )}
      {!sound.canPlayAudio && (
        <div className="banner" role="alert" data-banner="sound">
          <Icon name="sound" size={20} />
          Your browser holds the sound back until you ask for it.
          <button type="button" className="button button-small" onClick={() => void room.startAudio()}>
            Turn sound on
          </button>
        </div>
      )}
      {recorded && (
        <div className="banner banner-recording" role="status" data-banner="recording">
          <span className="recording-light" aria-hidden="true" />
          This call is being recorded.
        </div>
      )}
      {sharing && (
        <div className="banner banner-sharing" role="status" data-banner="sharing">
          <Icon name="screen" size={20} />
          Everybody sees what you share.
          <button type="button" className="button button-small" onClick={onStopSharing}>
            Stop sharing
          </button>
        </div>
      )}
    </div>
  );
}
