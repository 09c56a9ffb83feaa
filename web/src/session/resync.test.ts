import { Room, RoomEvent } from 'livekit-client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { resyncAfterReconnects } from './resync';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function followed() {
  const room = new Room();
  resyncAfterReconnects(room);
  const seen = vi.fn();
  room.on(RoomEvent.ConnectionStateChanged, seen);
  return { room, seen };
}

test('the room is read anew until livekit-client has finished, and then no more', () => {
  const { room, seen } = followed();
  room.emit(RoomEvent.Reconnected);
  vi.advanceTimersByTime(2_500);
  const within = seen.mock.calls.length;
  expect(within).toBeGreaterThan(8);
  vi.advanceTimersByTime(60_000);
  expect(seen.mock.calls.length).toBeLessThan(within + 4);
});

test('a call that ended is left alone', () => {
  const { room, seen } = followed();
  room.emit(RoomEvent.Reconnected);
  room.emit(RoomEvent.Disconnected);
  vi.advanceTimersByTime(60_000);
  expect(seen).not.toHaveBeenCalled();
});
