/** A choice among devices; hidden where there is none to make. */
interface Props {
  label: string;
  devices: MediaDeviceInfo[];
  value: string | undefined;
  onChoose: (device: string) => void;
}

export function DeviceSelect({ label, devices, value, onChoose }: Props) {
  if (devices.length === 0) return null;
  const known = devices.some((device) => device.deviceId === value);
  return (
    <label className="device">
      <span className="label">{label}</span>
      <select
        className="field"
        value={known ? value : devices[0]?.deviceId}
        onChange={(event) => onChoose(event.target.value)}
      >
        {devices.map((device) => (
          <option key={device.deviceId} value={device.deviceId}>
            {device.label}
          </option>
        ))}
      </select>
    </label>
  );
}
