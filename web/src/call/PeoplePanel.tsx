/** Everybody in the call: raised hands in their order first. */
import type { Participant } from 'livekit-client';
import { raisedHands } from '../session/hands';
import { Avatar } from '../ui/Avatar';
import { Icon } from '../ui/Icon';
import { Panel } from './Panel';
import { displayName, isHost, nameOf } from './person';

export function PeoplePanel({ participants, onClose }: { participants: Participant[]; onClose: () => void }) {
  const hands = raisedHands(participants);
  return (
    <Panel title="People" name="people" onClose={onClose}>
      {hands.length > 0 && (
        <section className="people-section">
          <h3>Raised hands</h3>
          <ol className="people hands" aria-label="Raised hands">
            {hands.map((participant, index) => (
              <li key={participant.identity} data-name={nameOf(participant)}>
                <span className="hand-order" aria-hidden="true">
                  {index + 1}
                </span>
                <span className="person-name">{displayName(participant)}</span>
                <span aria-hidden="true">✋</span>
              </li>
            ))}
          </ol>
        </section>
      )}
      <section className="people-section">
        <h3>In this call</h3>
        <ul className="people">
          {participants.map((participant) => (
            <li key={participant.identity} data-name={nameOf(participant)} data-host={isHost(participant)}>
              <Avatar small name={nameOf(participant)} identity={participant.identity} />
              <span className="person-name">{displayName(participant)}</span>
              {isHost(participant) && <span className="badge">Host</span>}
              <span className="person-mic" data-off={!participant.isMicrophoneEnabled}>
                <Icon name={participant.isMicrophoneEnabled ? 'microphone' : 'microphoneOff'} size={18} />
                <span className="visually-hidden">{participant.isMicrophoneEnabled ? 'unmuted' : 'muted'}</span>
              </span>
            </li>
          ))}
        </ul>
      </section>
    </Panel>
  );
}
