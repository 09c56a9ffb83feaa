// Records a room with LiveKit's own SDK for servers, and prints what it is answered, as JSON.
//
//   node egress/record.mjs URL KEY SECRET ROOM
import { EgressClient, EncodedFileOutput, EgressStatus } from 'livekit-server-sdk';

const [url, key, secret, room] = process.argv.slice(2);
const client = new EgressClient(url, key, secret);
const status = (info) => EgressStatus[info.status];

/** The recording, as soon as it has this status. */
async function wait(id, wanted) {
  for (;;) {
    const [info] = await client.listEgress({ egressId: id });
    if (info?.status === wanted) return info;
    await new Promise((done) => setTimeout(done, 100));
  }
}

const file = new EncodedFileOutput({ filepath: 'sdk/{room_name}-{time}' });
const started = await client.startRoomCompositeEgress(room, { file }, { audioOnly: true });
const active = await wait(started.egressId, EgressStatus.EGRESS_ACTIVE);
const running = await client.listEgress({ roomName: room, active: true });
await new Promise((done) => setTimeout(done, 1500));
const stopped = await client.stopEgress(started.egressId);
const ended = await wait(started.egressId, EgressStatus.EGRESS_COMPLETE);
const again = await client.stopEgress(started.egressId).catch((error) => error.code);
const [result] = ended.fileResults;
console.log(
  JSON.stringify({
    statuses: [started, active, stopped, ended].map(status),
    running: running.map((info) => info.egressId === started.egressId),
    file: result.filename,
    seconds: Number(result.duration) / 1e9,
    bytes: Number(result.size),
    again,
  }),
);
