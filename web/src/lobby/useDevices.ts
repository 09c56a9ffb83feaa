/** The devices of one kind that the browser shows, kept up to date as they come and go. */
import { useEffect, useState } from 'react';

/**
 * Lists devices without asking for permission. Browsers hide names (and most devices) until one was allowed, so
 * `allowed` must change when that happens; nameless entries are left out.
 */
export function useDevices(kind: MediaDeviceKind, allowed: boolean): MediaDeviceInfo[] {
  const [devices, setDevices] = useState<MediaDeviceInfo[]>([]);
  useEffect(() => {
    // Absent where the page is not secure.
    const media = navigator.mediaDevices as MediaDevices | undefined;
    if (media === undefined) return;
    let over = false;
    const list = () => {
      media
        .enumerateDevices()
        .then((all) => {
          if (!over) setDevices(all.filter((one) => one.kind === kind && one.deviceId !== '' && one.label !== ''));
        })
        .catch((error: unknown) => console.warn('devices cannot be listed', error));
    };
    list();
    media.addEventListener('devicechange', list);
    return () => {
      over = true;
      media.removeEventListener('devicechange', list);
    };
  }, [kind, allowed]);
  return devices;
}
