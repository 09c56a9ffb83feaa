/** Who is in the call: tiles of equal size, or a shared screen with everybody beside it. */
import { isTrackReference, useTracks, type TrackReference } from '@livekit/components-react';
import { type Participant, Track } from 'livekit-client';
import { useLayoutEffect, useRef, useState } from 'react';
import { gridColumns, tileRatio } from './grid';
import { SharedScreen, Tile } from './Tile';

/** Pixels between tiles; `--gap` in `call.css`. */
const GAP = 12;

export function Stage({ participants }: { participants: Participant[] }) {
  const cameras = useTracks([Track.Source.Camera], { onlySubscribed: false });
  const shares = useTracks([Track.Source.ScreenShare]).filter(
    // One's own screen within itself would be a hall of mirrors; a banner says that it is shared.
    (share) => isTrackReference(share) && !share.participant.isLocal,
  );
  const [chosen, setChosen] = useState<string>();
  const shown = shares.find((share) => share.publication.trackSid === chosen) ?? shares.at(-1);
  const cameraOf = (participant: Participant) =>
    cameras.find((camera) => camera.participant.identity === participant.identity);

  if (shown !== undefined) {
    return (
      <div className="stage stage-shared">
        <SharedScreen share={shown} />
        <div className="strip" role="list" aria-label="People">
          {shares
            .filter((share) => share !== shown)
            .map((share) => (
              <OtherShare key={share.publication.trackSid} share={share} onChoose={setChosen} />
            ))}
          {participants.map((participant) => (
            <Tile key={participant.identity} participant={participant} camera={cameraOf(participant)} />
          ))}
        </div>
      </div>
    );
  }
  return <Grid participants={participants} cameraOf={cameraOf} />;
}

function OtherShare({ share, onChoose }: { share: TrackReference; onChoose: (sid: string) => void }) {
  return (
    <button type="button" className="tile tile-share" onClick={() => onChoose(share.publication.trackSid)}>
      Show the screen of {share.participant.name || share.participant.identity}
    </button>
  );
}

function Grid({
  participants,
  cameraOf,
}: {
  participants: Participant[];
  cameraOf: (participant: Participant) => TrackReference | undefined;
}) {
  const stage = useRef<HTMLDivElement>(null);
  const [area, setArea] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = stage.current;
    if (element === null) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry !== undefined) setArea({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const { columns, tile } = gridColumns(participants.length, area.width, area.height, GAP);
  return (
    <div
      ref={stage}
      className="stage stage-grid"
      style={
        {
          '--columns': columns,
          '--tile': `${tile}px`,
          '--tile-ratio': tileRatio(area.width, area.height),
        } as React.CSSProperties
      }
    >
      <div className="grid" role="list" aria-label="People">
        {participants.map((participant) => (
          <Tile key={participant.identity} participant={participant} camera={cameraOf(participant)} />
        ))}
      </div>
      {participants.length === 1 && <p className="alone">Nobody else is here yet. Share the link and wait, or come back later.</p>}
    </div>
  );
}
