/** Which devices the call uses. */
import type { Room } from 'livekit-client';
import { useState } from 'react';
import { DeviceSelect } from '../lobby/DeviceSelect';
import { useDevices } from '../lobby/useDevices';
import { rememberedPerson, rememberPerson } from '../person';
import { deviceProblem } from '../problems';
import { Panel } from './Panel';

interface Props {
  room: Room;
  onClose: () => void;
  onProblem: (sentence: string) => void;
}

const KINDS = [
  { kind: 'audioinput', label: 'Microphone', device: 'microphone' },
  { kind: 'audiooutput', label: 'Speaker', device: undefined },
  { kind: 'videoinput', label: 'Camera', device: 'camera' },
] as const;

export function SettingsPanel({ room, onClose, onProblem }: Props) {
  return (
    <Panel title="Devices" name="settings" onClose={onClose}>
      <div className="settings">
        {KINDS.map((entry) => (
          <Choice key={entry.kind} entry={entry} room={room} onProblem={onProblem} />
        ))}
        <p className="hint">Devices appear here once your browser was allowed to use one of their kind.</p>
      </div>
    </Panel>
  );
}

function Choice({ entry, room, onProblem }: { entry: (typeof KINDS)[number] } & Omit<Props, 'onClose'>) {
  const devices = useDevices(entry.kind, true);
  const [value, setValue] = useState(() => room.getActiveDevice(entry.kind));
  const choose = async (device: string) => {
    try {
      await room.switchActiveDevice(entry.kind, device);
      setValue(device);
      if (entry.device !== undefined) rememberPerson({ ...rememberedPerson(), [entry.device]: device });
    } catch (error) {
      onProblem(deviceProblem(entry.device ?? 'microphone', error, window.isSecureContext));
    }
  };
  return <DeviceSelect label={entry.label} devices={devices} value={value} onChoose={(device) => void choose(device)} />;
}
