/** Shows that the microphone hears: bars that follow the voice. */
import { createAudioAnalyser, type LocalAudioTrack } from 'livekit-client';
import { useEffect, useRef } from 'react';

const BARS = 16;

/**
 * `volume` runs from 0 to 1; speech is mostly below 0.5, so its square root uses the meter's whole width.
 *
 * Writes to the element directly: sixty renders a second would be waste.
 */
export function MicLevel({ track }: { track: LocalAudioTrack | undefined }) {
  const meter = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (track === undefined) return;
    const { calculateVolume, cleanup } = createAudioAnalyser(track, { smoothingTimeConstant: 0.6 });
    let frame = 0;
    const draw = () => {
      const lit = Math.round(Math.sqrt(Math.min(1, calculateVolume())) * BARS);
      meter.current?.setAttribute('aria-valuenow', String(lit));
      meter.current?.style.setProperty('--lit', String(lit));
      frame = requestAnimationFrame(draw);
    };
    draw();
    return () => {
      cancelAnimationFrame(frame);
      void cleanup();
    };
  }, [track]);

  return (
    <div
      ref={meter}
      className="level"
      role="meter"
      aria-label="Microphone level"
      aria-valuemin={0}
      aria-valuemax={BARS}
      aria-valuenow={0}
    >
      {Array.from({ length: BARS }, (_, index) => (
        <span key={index} style={{ '--at': index } as React.CSSProperties} />
      ))}
    </div>
  );
}
