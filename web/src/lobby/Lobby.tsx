/** Before the call: a name, a look in the mirror, a word into the microphone. Everything but the name is optional. */
import { useEffect, useRef, useState } from 'react';
import type { Person } from '../person';
import type { Problem } from '../problems';
import type { OwnMedia } from '../session/join';
import { Avatar } from '../ui/Avatar';
import { Centered } from '../ui/Card';
import { CopyLink } from '../ui/CopyLink';
import { Icon } from '../ui/Icon';
import { DeviceSelect } from './DeviceSelect';
import { MicLevel } from './MicLevel';
import { useDevices } from './useDevices';
import { useOwnTrack } from './useOwnTrack';

export interface LobbyChoice {
  name: string;
  media: OwnMedia;
  devices: Pick<Person, 'microphone' | 'camera' | 'cameraOn'>;
}

interface Props {
  call: string;
  link: string;
  person: Person;
  joining: boolean;
  problem: Problem | undefined;
  onJoin: (choice: LobbyChoice) => void;
}

export function Lobby({ call, link, person, joining, problem, onJoin }: Props) {
  const [name, setName] = useState(person.name);
  const [muted, setMuted] = useState(false);
  const [cameraOn, setCameraOn] = useState(person.cameraOn);
  const microphone = useOwnTrack('microphone', true, person.microphone);
  const camera = useOwnTrack('camera', cameraOn, person.camera);
  const microphones = useDevices('audioinput', microphone.track !== undefined);
  const cameras = useDevices('videoinput', camera.track !== undefined);
  const trimmed = name.trim();

  const join = async () => {
    const media = { microphone: microphone.release(), camera: camera.release() };
    // After a failed attempt the track is still as it was then.
    if (muted !== media.microphone?.isMuted) await (muted ? media.microphone?.mute() : media.microphone?.unmute());
    onJoin({
      name: trimmed,
      media,
      devices: { microphone: microphone.device, camera: camera.device, cameraOn },
    });
  };

  return (
    <Centered wide>
      <div className="lobby">
        <section className="lobby-check" aria-label="Camera and microphone">
          <div className="preview">
            {camera.track !== undefined ? (
              <Mirror track={camera.track.mediaStreamTrack} />
            ) : (
              <div className="preview-empty">
                <Avatar name={trimmed || '?'} identity={person.identity} />
                <p>{cameraOn && camera.asking ? 'Starting the camera…' : 'Your camera is off'}</p>
              </div>
            )}
            <div className="preview-controls">
              <button
                type="button"
                className="control"
                data-action="microphone"
                data-off={muted || microphone.track === undefined}
                disabled={microphone.track === undefined}
                aria-label={muted ? 'Unmute' : 'Mute'}
                onClick={() => setMuted(!muted)}
              >
                <Icon name={muted || microphone.track === undefined ? 'microphoneOff' : 'microphone'} />
              </button>
              <button
                type="button"
                className="control"
                data-action="camera"
                data-off={!cameraOn}
                aria-label={cameraOn ? 'Turn camera off' : 'Turn camera on'}
                onClick={() => setCameraOn(!cameraOn)}
              >
                <Icon name={cameraOn ? 'camera' : 'cameraOff'} />
              </button>
            </div>
          </div>
          {microphone.problem !== undefined ? (
            <DeviceTrouble text={`${microphone.problem} You can join without and listen.`} onRetry={microphone.retry} />
          ) : (
            <div className="level-row">
              <Icon name="microphone" size={18} />
              <MicLevel track={muted ? undefined : microphone.track} />
              <span className="hint">{microphone.asking ? 'Allow the microphone' : muted ? 'Muted' : 'Say something'}</span>
            </div>
          )}
          {cameraOn && camera.problem !== undefined && <DeviceTrouble text={camera.problem} onRetry={camera.retry} />}
        </section>

        <form
          className="lobby-form"
          onSubmit={(event) => {
            event.preventDefault();
            if (trimmed !== '' && !joining) void join();
          }}
        >
          <p className="eyebrow">You are about to join</p>
          <h1 className="call-title">{call}</h1>
          <div>
            <label className="label" htmlFor="own-name">
              Your name
            </label>
            <input
              id="own-name"
              className="field"
              value={name}
              maxLength={60}
              autoComplete="name"
              placeholder="How others see you"
              required
              autoFocus
              onChange={(event) => setName(event.target.value)}
            />
          </div>
          <DeviceSelect label="Microphone" devices={microphones} value={microphone.device} onChoose={microphone.choose} />
          {cameraOn && <DeviceSelect label="Camera" devices={cameras} value={camera.device} onChoose={camera.choose} />}
          {problem !== undefined && (
            <div className="trouble" role="alert">
              <Icon name="alert" size={20} />
              <div>
                <strong>{problem.title}</strong>
                <p>{problem.advice}</p>
              </div>
            </div>
          )}
          <div className="lobby-actions">
            <button
              type="submit"
              className="button button-primary button-large"
              disabled={trimmed === ''}
              // Not disabled while joining: it would lose the focus, and the keyboard its place.
              aria-disabled={joining}
            >
              {joining ? 'Joining…' : problem?.retry ? 'Try again' : 'Join'}
            </button>
            <CopyLink link={link} />
          </div>
        </form>
      </div>
    </Centered>
  );
}

/** The own picture, mirrored as people know themselves. */
function Mirror({ track }: { track: MediaStreamTrack }) {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (video.current !== null) video.current.srcObject = new MediaStream([track]);
  }, [track]);
  return <video ref={video} className="mirrored" autoPlay muted playsInline aria-label="Your camera" />;
}

function DeviceTrouble({ text, onRetry }: { text: string; onRetry: () => void }) {
  return (
    <div className="trouble" role="status">
      <Icon name="alert" size={20} />
      <p>{text}</p>
      <button type="button" className="button button-small" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}
