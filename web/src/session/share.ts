/** Sharing a screen, a window or a tab. */
import { type Room, ScreenSharePresets, Track } from 'livekit-client';
import { drawCode } from './code';

/**
 * Whether this page shares a drawn canvas instead of asking for a screen: `?share=canvas` in its address.
 *
 * For browsers that can capture no screen, such as Firefox without a display: tests see a shared picture advance
 * there too (`code.ts`).
 */
export function sharesCanvas(search: string): boolean {
  return new URLSearchParams(search).get('share') === 'canvas';
}

/** Starts sharing. The browser asks the person what to share. */
export async function startSharing(room: Room): Promise<void> {
  if (sharesCanvas(window.location.search)) {
    await room.localParticipant.publishTrack(canvasTrack(), {
      source: Track.Source.ScreenShare,
      name: 'canvas',
      simulcast: false,
      videoEncoding: ScreenSharePresets.h720fps15.encoding,
    });
    return;
  }
  await room.localParticipant.setScreenShareEnabled(true, {
    // The sound of a tab comes along where the browser has it.
    audio: true,
    systemAudio: 'include',
    surfaceSwitching: 'include',
    // Sharing this very page would show it within itself without end.
    selfBrowserSurface: 'exclude',
  });
}

export async function stopSharing(room: Room): Promise<void> {
  const shared = [Track.Source.ScreenShare, Track.Source.ScreenShareAudio]
    .map((source) => room.localParticipant.getTrackPublication(source)?.track)
    .filter((track) => track !== undefined);
  await room.localParticipant.unpublishTracks(shared);
}

/** Ten pictures a second, each with the next number, until the track is stopped. */
function canvasTrack(): MediaStreamTrack {
  const canvas = document.createElement('canvas');
  canvas.width = 1280;
  canvas.height = 720;
  let number = 0;
  drawCode(canvas, number);
  const track = canvas.captureStream(10).getVideoTracks()[0];
  if (track === undefined) throw new Error('this browser gave no video of a canvas');
  const timer = setInterval(() => {
    if (track.readyState === 'ended') clearInterval(timer);
    else drawCode(canvas, ++number);
  }, 100);
  return track;
}
