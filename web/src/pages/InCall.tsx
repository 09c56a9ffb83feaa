/** The call: stage, panels, controls, and everything that happens without being asked for. */
import { RoomContext, useConnectionState, useLocalParticipant, useParticipants } from '@livekit/components-react';
import { type Room, RoomEvent, type RemoteParticipant } from 'livekit-client';
import { useCallback, useEffect, useRef, useState } from 'react';
import { Banners } from '../call/Banners';
import { CallAudio } from '../call/CallAudio';
import { ChatPanel } from '../call/ChatPanel';
import { Controls } from '../call/Controls';
import { FloatingReactions } from '../call/FloatingReactions';
import { Header } from '../call/Header';
import { PeoplePanel } from '../call/PeoplePanel';
import { SettingsPanel } from '../call/SettingsPanel';
import { Stage } from '../call/Stage';
import { isHost } from '../call/person';
import { deviceProblem, isCancelled, type DeviceKind } from '../problems';
import { useChat } from '../session/chat';
import { HAND_ATTRIBUTE, handRaisedAt, useOwnHand } from '../session/hands';
import { type JoinedCall, type OwnMedia, publishOwn } from '../session/join';
import { useReactions } from '../session/reactions';
import { useRecording } from '../session/recording';
import { startSharing, stopSharing } from '../session/share';
import { useShortcuts } from '../session/shortcuts';
import { useAnnounce } from '../ui/announce';
import { Notices, useNotices } from '../ui/Notices';

interface Props {
  call: string;
  link: string;
  joined: JoinedCall;
  media: OwnMedia;
  /** Whether the server records calls. */
  records: boolean;
}

export type PanelName = 'chat' | 'people' | 'settings';

/** What `useParticipants` must follow for this page, beyond who is there. */
const PARTICIPANT_EVENTS = [
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantAttributesChanged,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.ConnectionStateChanged,
  RoomEvent.Reconnected,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
];

export function InCall(props: Props) {
  return (
    <RoomContext value={props.joined.room}>
      <CallSurface {...props} />
    </RoomContext>
  );
}

function CallSurface({ call, link, joined: { room, token }, media, records }: Props) {
  const announce = useAnnounce();
  const { notices, notify, dismiss } = useNotices();
  const [panel, setPanel] = useState<PanelName | undefined>();
  const [unread, setUnread] = useState(0);
  const participants = useParticipants({ room, updateOnlyOn: PARTICIPANT_EVENTS });
  const own = useLocalParticipant({ room });
  const connection = useConnectionState(room);

  const onDeviceError = useCallback(
    (kind: DeviceKind, error: unknown) => notify(deviceProblem(kind, error, window.isSecureContext)),
    [notify],
  );

  const published = useRef(false);
  useEffect(() => {
    // Once for each room, though StrictMode runs effects twice.
    if (published.current) return;
    published.current = true;
    void publishOwn(room, media, onDeviceError);
  }, [room, media, onDeviceError]);

  useArrivals(room, announce);

  const chat = useChat(room, (message) => {
    if (panel !== 'chat') setUnread((count) => count + 1);
    announce(`${message.name} writes: ${message.text}`);
  });
  const { reactions, react } = useReactions(room, (emoji, name) => announce(`${name} reacts with ${emoji}`));
  const hand = useOwnHand(
    room,
    useCallback(() => notify('Your hand could not be raised or lowered: wait a moment, then try again.'), [notify]),
  );

  const mayRecord = records && isHost(room.localParticipant);
  const { recording, toggle: toggleRecording } = useRecording(room, token, mayRecord, notify);

  const openPanel = (name: PanelName) => {
    if (name === 'chat') setUnread(0);
    setPanel((current) => (current === name ? undefined : name));
  };
  const toggleMicrophone = () => {
    const on = !own.isMicrophoneEnabled;
    room.localParticipant
      .setMicrophoneEnabled(on)
      .then(() => announce(on ? 'You are unmuted.' : 'You are muted.'))
      .catch((error: unknown) => onDeviceError('microphone', error));
  };
  const toggleCamera = () => {
    const on = !own.isCameraEnabled;
    room.localParticipant
      .setCameraEnabled(on)
      .then(() => announce(on ? 'Your camera is on.' : 'Your camera is off.'))
      .catch((error: unknown) => onDeviceError('camera', error));
  };
  const toggleShare = () => {
    const on = !own.isScreenShareEnabled;
    (on ? startSharing(room) : stopSharing(room))
      .then(() => announce(on ? 'You share your screen.' : 'You no longer share your screen.'))
      .catch((error: unknown) => {
        if (!isCancelled(error)) onDeviceError('screen', error);
      });
  };

  useShortcuts({
    microphone: toggleMicrophone,
    camera: toggleCamera,
    share: toggleShare,
    hand: hand.toggle,
    chat: () => openPanel('chat'),
    people: () => openPanel('people'),
    record: () => mayRecord && toggleRecording(),
  });
  useEffect(() => {
    const close = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !event.defaultPrevented) setPanel(undefined);
    };
    window.addEventListener('keydown', close);
    return () => window.removeEventListener('keydown', close);
  }, []);

  const closePanel = () => setPanel(undefined);
  return (
    <div className="call" data-panel={panel} data-connection={connection}>
      <Header
        call={call}
        link={link}
        people={participants.length}
        panel={panel}
        onPanel={openPanel}
      />
      <Banners room={room} connection={connection} sharing={own.isScreenShareEnabled} onStopSharing={toggleShare} />
      <main className="call-main">
        <Stage participants={participants} />
        <FloatingReactions reactions={reactions} />
      </main>
      {panel === 'chat' && <ChatPanel {...chat} onClose={closePanel} onProblem={notify} />}
      {panel === 'people' && <PeoplePanel participants={participants} onClose={closePanel} />}
      {panel === 'settings' && <SettingsPanel room={room} onClose={closePanel} onProblem={notify} />}
      <Controls
        microphone={own.isMicrophoneEnabled}
        camera={own.isCameraEnabled}
        sharing={own.isScreenShareEnabled}
        handRaised={handRaisedAt(room.localParticipant) !== undefined}
        panel={panel}
        unread={unread}
        recording={mayRecord ? recording : undefined}
        onMicrophone={toggleMicrophone}
        onCamera={toggleCamera}
        onShare={toggleShare}
        onHand={hand.toggle}
        onReact={react}
        onRecord={toggleRecording}
        onPanel={openPanel}
        onLeave={() => void room.disconnect()}
      />
      <Notices notices={notices} dismiss={dismiss} />
      <CallAudio />
    </div>
  );
}

/** Says who comes, goes, raises a hand or shares. */
function useArrivals(room: Room, announce: (sentence: string) => void): void {
  useEffect(() => {
    const nameOf = (participant: { name?: string; identity: string }) => participant.name || participant.identity;
    const came = (participant: RemoteParticipant) => announce(`${nameOf(participant)} joined.`);
    const left = (participant: RemoteParticipant) => announce(`${nameOf(participant)} left.`);
    const changed = (attributes: Record<string, string>, participant: { name?: string; identity: string }) => {
      const raised = attributes[HAND_ATTRIBUTE];
      if (raised === undefined) return;
      const who = participant.identity === room.localParticipant.identity ? 'You' : nameOf(participant);
      announce(raised === '' ? `${who} lowered the hand.` : `${who} raised a hand.`);
    };
    room.on(RoomEvent.ParticipantConnected, came);
    room.on(RoomEvent.ParticipantDisconnected, left);
    room.on(RoomEvent.ParticipantAttributesChanged, changed);
    return () => {
      room.off(RoomEvent.ParticipantConnected, came);
      room.off(RoomEvent.ParticipantDisconnected, left);
      room.off(RoomEvent.ParticipantAttributesChanged, changed);
    };
  }, [room, announce]);
}
