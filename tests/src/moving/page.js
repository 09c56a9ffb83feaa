// Two plain peer connections of one browser: what it publishes on one, it receives on the other. A test calls
// `window.moving`.

/** Milliseconds between two numbered messages. */
const MESSAGE_INTERVAL = 20;
/** Milliseconds between two looks at something that is waited for. */
const LOOK = 50;

const connections = { publisher: new RTCPeerConnection(), receiver: new RTCPeerConnection() };
/** Numbers sent, and those that came back on either connection. */
const numbers = { sent: 0, publisher: [], receiver: [] };
/** What a connection's state became after it was connected. */
const changes = [];
let channel;
let timer;

async function ask(wish) {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch('ask', { method: 'POST', headers, body: JSON.stringify(wish) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${wish.ask}: ${said.error}`);
  return said;
}

/** Waits for a condition; fails with what `complaint` says when it takes longer than `limit` milliseconds. */
async function until(condition, limit, complaint) {
  for (const end = performance.now() + limit; !(await condition()); ) {
    if (performance.now() > end) throw new Error(await complaint());
    await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
}

// --- the beginning ---

async function publish(way) {
  const { publisher } = connections;
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  for (const track of media.getTracks()) publisher.addTrack(track, media);
  channel = publisher.createDataChannel('numbers');
  channel.onmessage = ({ data }) => numbers.publisher.push(Number(data));
  await publisher.setLocalDescription(await publisher.createOffer());
  const { answer } = await ask({ ask: 'publish', sdp: publisher.localDescription.sdp, way });
  await publisher.setRemoteDescription({ type: 'answer', sdp: answer });
}

async function receive() {
  const { receiver } = connections;
  receiver.ontrack = ({ track }) => {
    const element = Object.assign(document.createElement(track.kind), { autoplay: true, muted: true });
    element.srcObject = new MediaStream([track]);
    document.body.append(element);
  };
  receiver.ondatachannel = (event) => {
    event.channel.onmessage = ({ data }) => numbers.receiver.push(Number(data));
  };
  await answer(await ask({ ask: 'receive' }));
}

async function answer({ offer }) {
  const { receiver } = connections;
  await receiver.setRemoteDescription({ type: 'offer', sdp: offer });
  await receiver.setLocalDescription(await receiver.createAnswer());
  await ask({ ask: 'answer', sdp: receiver.localDescription.sdp });
}

/** Connects both ways, for moves of a kind, and returns once pictures are decoded and messages come back. */
async function start(way) {
  await publish(way);
  await receive();
  const isUp = async () => {
    const { video } = (await counts()).inbound;
    return Object.values(connections).every((one) => one.connectionState === 'connected') && video?.frames > 10;
  };
  await until(isUp, 15_000, async () => `not connected: ${JSON.stringify(await counts())}`);
  for (const [name, connection] of Object.entries(connections)) {
    connection.onconnectionstatechange = () => changes.push(`${name} ${connection.connectionState}`);
  }
  timer = setInterval(() => channel.readyState === 'open' && channel.send(String(numbers.sent++)), MESSAGE_INTERVAL);
  const isEchoed = () => numbers.publisher.length > 10 && numbers.receiver.length > 10;
  await until(isEchoed, 15_000, () => `no message comes back: ${JSON.stringify(numbers)}`);
  return counts();
}

// --- moves ---

/** Leads a connection to the other engine. */
async function lead(name, way) {
  const connection = connections[name];
  if (way === 'candidate') {
    const { candidate } = await ask({ ask: 'move', connection: name, way });
    await connection.addIceCandidate(candidate);
  } else if (name === 'receiver') {
    await answer(await ask({ ask: 'move', connection: name, way }));
  } else {
    await connection.setLocalDescription(await connection.createOffer({ iceRestart: true }));
    const restarted = await ask({ ask: 'restart', sdp: connection.localDescription.sdp });
    await connection.setRemoteDescription({ type: 'answer', sdp: restarted.answer });
  }
}

/** Moves connections at once, and returns once they have arrived and nothing is left of them where they were. */
async function move(names, way) {
  const { moved } = await ask({ ask: 'report' });
  await Promise.all(names.map((name) => lead(name, way)));
  let seen;
  const isDone = async () => {
    seen = await ask({ ask: 'report' });
    return seen.moved === moved + names.length && !seen.moving;
  };
  await until(isDone, 15_000, () => `${names} did not move: ${JSON.stringify(seen)}`);
}

// --- what is counted ---

/** What the browser counts, what the engines count, and what happened to connections. */
async function counts() {
  const result = { inbound: {}, outbound: {}, numbers: null, changes, report: await ask({ ask: 'report' }) };
  for (const connection of Object.values(connections)) {
    for (const stats of (await connection.getStats()).values()) {
      const kind = stats.kind ?? stats.mediaType;
      if (stats.type === 'inbound-rtp' && connection === connections.receiver) {
        result.inbound[kind] = {
          packets: stats.packetsReceived ?? 0,
          lost: stats.packetsLost ?? 0,
          frames: stats.framesDecoded ?? 0,
          dropped: stats.framesDropped ?? 0,
          freezes: stats.freezeCount ?? 0,
          concealed: stats.concealedSamples ?? 0,
          keyframesAsked: stats.pliCount ?? 0,
          nacks: stats.nackCount ?? 0,
        };
      }
      if (stats.type === 'outbound-rtp' && connection === connections.publisher) {
        result.outbound[kind] = {
          packets: stats.packetsSent ?? 0,
          keyframesAsked: stats.pliCount ?? 0,
          nacks: stats.nackCount ?? 0,
        };
      }
    }
  }
  return result;
}

/** Sends no more messages, waits for the last, and tells how they came. */
async function finish() {
  clearInterval(timer);
  const last = () => numbers.publisher.length >= numbers.sent && numbers.receiver.length >= numbers.sent;
  // What does not come is counted below, before whoever drives this page has lost patience.
  await until(last, 20_000, () => 'not all came').catch(() => {});
  const { sent, publisher, receiver } = numbers;
  return { ...(await counts()), numbers: { sent, echoed: inOrder(publisher), copied: inOrder(receiver) } };
}

/** How many messages came, up to the first that is not the next one. */
function inOrder(came) {
  const wrong = came.findIndex((number, at) => number !== at);
  return { came: came.length, inOrder: wrong < 0 ? came.length : wrong };
}

window.moving = { start, move, counts, finish };
