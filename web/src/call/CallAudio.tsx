/** Everybody else's sound, each in an element that says whose it is. */
import { AudioTrack, useTracks } from '@livekit/components-react';
import { Track } from 'livekit-client';

export function CallAudio() {
  const tracks = useTracks([Track.Source.Microphone, Track.Source.ScreenShareAudio]).filter(
    ({ participant }) => !participant.isLocal,
  );
  return (
    <div hidden>
      {tracks.map((trackRef) => (
        <AudioTrack
          key={trackRef.publication.trackSid}
          trackRef={trackRef}
          data-identity={trackRef.participant.identity}
          data-source={trackRef.source}
        />
      ))}
    </div>
  );
}
