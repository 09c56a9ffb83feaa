/** One call's page, from the lobby through the call to its end. */
import { DisconnectReason, type Room, RoomEvent } from 'livekit-client';
import { useEffect, useRef, useState } from 'react';
import { Lobby, type LobbyChoice } from '../lobby/Lobby';
import { identityForThisTab, rememberedPerson, rememberPerson } from '../person';
import { endProblem, joinProblem, type Problem } from '../problems';
import { callPath } from '../route';
import type { PageConfig } from '../server';
import { joinCall, type JoinedCall, type OwnMedia } from '../session/join';
import { Message } from '../ui/Card';
import { InCall } from './InCall';

type State =
  | { at: 'lobby'; joining: boolean; problem: Problem | undefined }
  | { at: 'call'; joined: JoinedCall; media: OwnMedia }
  | { at: 'end'; problem: Problem | undefined };

interface Props {
  call: string;
  invite: string | undefined;
  config: PageConfig;
}

export function CallPage({ call, invite, config }: Props) {
  const [person, setPerson] = useState(() => rememberedPerson());
  const [state, setState] = useState<State>({ at: 'lobby', joining: false, problem: undefined });
  const identity = useRef<Promise<string>>(undefined);
  const hangUp = useHangUp();
  const link = `${window.location.origin}${callPath(call, invite)}`;

  useEffect(() => {
    document.title = state.at === 'call' ? `● ${call}` : `${call} · Calls`;
  }, [call, state.at]);

  const join = async (choice: LobbyChoice) => {
    setState({ at: 'lobby', joining: true, problem: undefined });
    hangUp.holds(choice.media);
    const remembered = { ...person, name: choice.name, ...choice.devices };
    setPerson(remembered);
    rememberPerson(remembered);
    try {
      identity.current ??= identityForThisTab(person.identity);
      const joined = await joinCall({ call, name: choice.name, identity: await identity.current, invite });
      const { room } = joined;
      room.once(RoomEvent.Disconnected, (reason?: DisconnectReason) => {
        stopTracks(choice.media);
        setState({ at: 'end', problem: endProblem(reason ?? DisconnectReason.UNKNOWN_REASON) });
      });
      hangUp.holds(choice.media, room);
      setState({ at: 'call', joined, media: choice.media });
    } catch (error) {
      console.warn('joining failed', error);
      setState({ at: 'lobby', joining: false, problem: joinProblem(error) });
    }
  };

  if (config.access === 'token' && invite === undefined) {
    return (
      <Message title="This call takes an invitation">
        <p>
          The link you opened names the call “{call}” but carries no invitation. Ask the person who sent it for the
          full link, which ends in <code>#invite=…</code>, and open that.
        </p>
        <p>Do you run this server? <code>calls-operator link</code> makes invitation links.</p>
      </Message>
    );
  }

  switch (state.at) {
    case 'lobby':
      return (
        <Lobby
          call={call}
          link={link}
          person={person}
          joining={state.joining}
          problem={state.problem}
          onJoin={(choice) => void join(choice)}
        />
      );
    case 'call':
      return <InCall call={call} link={link} joined={state.joined} media={state.media} records={config.records} />;
    case 'end':
      return (
        <Message
          title={state.problem?.title ?? 'You left the call'}
          actions={
            <>
              {state.problem?.retry !== false && (
                <button
                  type="button"
                  className="button button-primary"
                  autoFocus
                  onClick={() => setState({ at: 'lobby', joining: false, problem: undefined })}
                >
                  Join again
                </button>
              )}
              <a className="button" href="/">
                Start page
              </a>
            </>
          }
        >
          <p>{state.problem?.advice ?? `“${call}” goes on as long as somebody is there, and its link stays the same.`}</p>
        </Message>
      );
  }
}

/**
 * Leaves the call and lets go of the devices when the person goes to another page of this site, as with the browser's
 * Back: nothing is unloaded then, and without this the call would go on unseen.
 */
function useHangUp() {
  const held = useRef<{ media?: OwnMedia; room?: Room; gone: boolean }>({ gone: false });
  useEffect(() => {
    held.current.gone = false;
    return () => {
      held.current.gone = true;
      void held.current.room?.disconnect();
      if (held.current.media !== undefined) stopTracks(held.current.media);
    };
  }, []);
  return {
    holds: (media: OwnMedia, room?: Room) => {
      held.current.media = media;
      if (room === undefined) return;
      held.current.room = room;
      // They went while the call was still being joined.
      if (held.current.gone) void room.disconnect();
    },
  };
}

function stopTracks({ microphone, camera }: OwnMedia): void {
  microphone?.stop();
  camera?.stop();
}
