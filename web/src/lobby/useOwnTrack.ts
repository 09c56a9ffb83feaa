/** The microphone or the camera in the lobby: asked for, chosen, changed, given up. */
import { createLocalAudioTrack, createLocalVideoTrack, type LocalAudioTrack, type LocalVideoTrack } from 'livekit-client';
import { useCallback, useEffect, useRef, useState } from 'react';
import { deviceProblem } from '../problems';

interface Kinds {
  microphone: LocalAudioTrack;
  camera: LocalVideoTrack;
}

export interface OwnTrack<Track> {
  track: Track | undefined;
  /** A sentence that says why there is none and what to do. */
  problem: string | undefined;
  /** Whether the browser is being asked. */
  asking: boolean;
  /** The chosen device's id; nothing for the system's default. */
  device: string | undefined;
  choose: (device: string) => void;
  /** Asks the browser again. */
  retry: () => void;
  /** Gives the track away, to a call: the lobby no longer stops it. */
  release: () => Track | undefined;
}

/**
 * Holds the device while `wanted`, and lets go of it when not, when the lobby closes, or when another is chosen.
 *
 * `remembered` is the device of last time; if it is gone the browser picks another.
 */
export function useOwnTrack<Kind extends keyof Kinds>(
  kind: Kind,
  wanted: boolean,
  remembered: string | undefined,
): OwnTrack<Kinds[Kind]> {
  type Track = Kinds[Kind];
  const [device, setDevice] = useState(remembered);
  const [attempt, setAttempt] = useState(0);
  const [state, setState] = useState<{ track?: Track; problem?: string; asking: boolean }>({ asking: wanted });
  const released = useRef<Track>(undefined);

  useEffect(() => {
    if (!wanted) {
      setState({ asking: false });
      return;
    }
    let over = false;
    let mine: Track | undefined;
    setState({ asking: true });
    open(kind, device).then(
      (track) => {
        if (over) return track.stop();
        mine = track;
        setState({ track, asking: false });
      },
      (error: unknown) => {
        if (!over) setState({ problem: deviceProblem(kind, error, window.isSecureContext), asking: false });
      },
    );
    return () => {
      over = true;
      if (mine !== undefined && mine !== released.current) mine.stop();
    };
  }, [kind, wanted, device, attempt]);

  const current = state.track;
  const release = useCallback(() => {
    released.current = current;
    return current;
  }, [current]);
  return {
    track: current,
    problem: state.problem,
    asking: state.asking,
    device,
    choose: setDevice,
    retry: useCallback(() => setAttempt((count) => count + 1), []),
    release,
  };
}

async function open<Kind extends keyof Kinds>(kind: Kind, device: string | undefined): Promise<Kinds[Kind]> {
  const options = device === undefined ? {} : { deviceId: { ideal: device } };
  const track = kind === 'microphone' ? createLocalAudioTrack(options) : createLocalVideoTrack(options);
  return (await track) as Kinds[Kind];
}
