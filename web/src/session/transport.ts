/** How media travels: which protocol the connected transport uses, logged once for each connection. */
import { type Room, RoomEvent } from 'livekit-client';

export type Protocol = 'udp' | 'tcp';

/**
 * The protocol of the candidate pair in use, from `RTCPeerConnection.getStats()`; nothing while none is selected.
 *
 * Chromium and Safari name the pair in the transport's report; Firefox marks the pair itself as selected.
 */
export function protocolOf(stats: Iterable<[string, unknown]>): Protocol | undefined {
  const reports = new Map(stats) as Map<string, Record<string, unknown>>;
  const all = [...reports.values()];
  const transport = all.find((report) => report['type'] === 'transport' && report['selectedCandidatePairId']);
  const pair =
    reports.get(String(transport?.['selectedCandidatePairId'])) ??
    all.find((report) => report['type'] === 'candidate-pair' && report['selected'] === true) ??
    all.find((report) => report['type'] === 'candidate-pair' && report['nominated'] === true && report['state'] === 'succeeded');
  const local = reports.get(String(pair?.['localCandidateId']));
  const protocol = String(local?.['protocol'] ?? '').toLowerCase();
  return protocol === 'udp' || protocol === 'tcp' ? protocol : undefined;
}

/**
 * Writes `rtc connected` to the console whenever media is connected: first when joining, then after each full
 * reconnect. People who ask for help are told to look for this line.
 */
export function logConnections(room: Room): void {
  const log = () => {
    void connectedProtocol(room).then((protocol) => console.info('rtc connected', { protocol }));
  };
  room.on(RoomEvent.Connected, log);
  room.on(RoomEvent.Reconnected, log);
}

/** Statistics may trail the connection by a moment, hence a few tries. */
async function connectedProtocol(room: Room): Promise<Protocol | undefined> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const protocol = protocolOf((await mediaStats(room)) ?? []);
    if (protocol !== undefined) return protocol;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return undefined;
}

/** Statistics of the connection that carries media; nothing before and after a call. */
async function mediaStats(room: Room): Promise<RTCStatsReport | undefined> {
  return room.engine.pcManager?.publisher.getStats();
}
