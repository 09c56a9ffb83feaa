/** Sharing a screen, a window or a tab. */
import { type Room, Track } from 'livekit-client';

/** Starts sharing. The browser asks the person what to share. */
export async function startSharing(room: Room): Promise<void> {
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
