/**
 * Sees who came while a full reconnect was being finished.
 *
 * livekit-client 2.23 says that it is connected again up to two seconds before its own reconnecting is over, and what it
 * would tell between the two (somebody came, a track was subscribed) it keeps back and then forgets; `room` itself is
 * right all along. Everything on the page that follows the room reads it anew when the connection's state changes, so
 * that event is repeated until the time is over.
 */
import { type Room, RoomEvent } from 'livekit-client';

/** Milliseconds between two looks. */
const STEP = 250;

/** Looks after one reconnect: a second more than livekit-client's wait of two (`minReconnectWait`). */
const LOOKS = 12;

export function resyncAfterReconnects(room: Room): void {
  let timer: ReturnType<typeof setInterval> | undefined;
  const stop = () => clearInterval(timer);
  room.on(RoomEvent.Reconnected, () => {
    stop();
    let looks = 0;
    timer = setInterval(() => {
      room.emit(RoomEvent.ConnectionStateChanged, room.state);
      looks += 1;
      if (looks === LOOKS) stop();
    }, STEP);
  });
  room.on(RoomEvent.Disconnected, stop);
}
