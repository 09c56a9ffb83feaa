// One end of a call that is measured, at any server that speaks LiveKit's protocol: a sender or a receiver, on the same
// release of livekit-client that our own page uses. `window.measured` is what the driver asks.
//
// What it is to do is in the address behind the `#`, so that the token is in no request: `server` (its websocket),
// `token`, `sends` (sources, none for a receiver), `codec` (of the camera, where not livekit-client's own choice), `relay`
// (the UDP port to use where the server names another; TCP is left out then, so that media has no way around the relay),
// `secret` (what media is encrypted with, end to end).
import { pictureTrack, screenTrack } from './pictures.mjs';

const { server, token, sends, codec, relay, secret } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const { ExternalE2EEKeyProvider, Room, RoomEvent, Track, VideoQuality } = await import('../clients/2.23.mjs');

/** Milliseconds between two looks at the statistics. */
const SAMPLE_INTERVAL = 500;

if (relay !== undefined) redirect(relay);

const keyProvider = new ExternalE2EEKeyProvider();
const encryption = secret && { keyProvider, worker: new Worker('/clients/e2ee-worker.mjs', { type: 'module' }) };
const room = new Room({ dynacast: true, e2ee: encryption });
const joining = performance.now();
/** Received tracks, by source. */
const received = new Map();
/** What can be asked for of them, by source. */
const publications = new Map();
const samples = [];
/** What was told of received streams: source, and `paused` or `active`. */
const states = [];

room.on(RoomEvent.TrackSubscribed, (track, publication) => {
  received.set(publication.source, track);
  publications.set(publication.source, publication);
  document.body.append(track.attach());
});
room.on(RoomEvent.TrackUnsubscribed, (track, { source }) => {
  track.detach().forEach((element) => element.remove());
  received.delete(source);
});

room.on(RoomEvent.TrackStreamStateChanged, ({ source }, state) => states.push([source, state]));

window.measured = {
  samples,
  states,
  state: () => ({ connection: room.state, sources: [...received.keys()] }),
  /** Asks for a received picture in `LOW`, `MEDIUM` or `HIGH` quality. */
  want: (source, quality) => publications.get(source).setVideoQuality(VideoQuality[quality]),
  /** Says how large a received picture is shown. */
  size: (source, width, height) => publications.get(source).setVideoDimensions({ width, height }),
  /** Wants a received stream, or does not for now. */
  enable: (source, on) => publications.get(source).setEnabled(on),
  /** The sources of received streams that are encrypted end to end. */
  encrypted: () => [...publications].filter(([, one]) => one.isEncrypted).map(([source]) => source),
};

if (secret !== undefined) {
  await keyProvider.setKey(secret);
  await room.setE2EEEnabled(true);
}

await room.connect(server, token);
for (const source of sends) await publish(source);
setInterval(() => void sample().then((one) => samples.push(one)), SAMPLE_INTERVAL);

async function publish(source) {
  const own = room.localParticipant;
  if (source === Track.Source.Microphone) await own.setMicrophoneEnabled(true);
  else if (source === Track.Source.Camera) await own.publishTrack(pictureTrack(), { source, videoCodec: codec });
  else if (source === Track.Source.ScreenShare) await own.publishTrack(screenTrack(), { source });
  else throw new Error(`there is no source ${source}`);
}

/**
 * Makes every peer connection of this page use another UDP port of the server, and keeps its own addresses from the
 * server: one that checks candidates by itself (full ICE) would find a way around the relay.
 */
function redirect(port) {
  const connection = window.RTCPeerConnection.prototype;
  const { setRemoteDescription, addIceCandidate, createOffer, createAnswer } = connection;
  connection.setRemoteDescription = function ({ type, sdp }) {
    return setRemoteDescription.call(this, { type, sdp: candidates(sdp, led) });
  };
  connection.addIceCandidate = function (init) {
    if (!init?.candidate) return addIceCandidate.call(this, init);
    const candidate = led(init.candidate);
    if (candidate === undefined) return Promise.resolve();
    return addIceCandidate.call(this, { candidate, sdpMid: init.sdpMid, sdpMLineIndex: init.sdpMLineIndex });
  };
  connection.createOffer = async function (...options) {
    const { type, sdp } = await createOffer.apply(this, options);
    return { type, sdp: candidates(sdp, () => undefined) };
  };
  connection.createAnswer = async function (...options) {
    const { type, sdp } = await createAnswer.apply(this, options);
    return { type, sdp: candidates(sdp, () => undefined) };
  };
  // livekit-client sends what it is told here.
  Object.defineProperty(connection, 'onicecandidate', { set() {}, get: () => null });

  /** A candidate that leads to the relay; none if it is for TCP. Its fields: RFC 8839, section 5.1. */
  function led(candidate) {
    const fields = candidate.split(' ');
    if (fields[2].toLowerCase() !== 'udp') return undefined;
    [fields[4], fields[5]] = ['127.0.0.1', String(port)];
    return fields.join(' ');
  }
}

/** A session description with other candidates, or without those for which there is none. */
function candidates(sdp, change) {
  const lines = sdp.split('\r\n').map((line) => (line.startsWith('a=candidate:') ? change(line) : line));
  return lines.filter((line) => line !== undefined).join('\r\n');
}

/** What the statistics say of each received and sent stream now, in their own words and units. */
async function sample() {
  const one = { at: performance.now() - joining, received: {}, sent: [] };
  for (const [source, track] of received) {
    const report = await track.receiver?.getStats();
    const stream = [...(report?.values() ?? [])].find(({ type }) => type === 'inbound-rtp');
    if (stream !== undefined) one.received[source] = { ...stream, mimeType: report.get(stream.codecId)?.mimeType };
  }
  for (const { source, track } of room.localParticipant.trackPublications.values()) {
    const report = await track?.sender?.getStats();
    for (const stream of report?.values() ?? []) {
      if (stream.type === 'outbound-rtp') one.sent.push({ ...stream, source });
    }
  }
  return one;
}
