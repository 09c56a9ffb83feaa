// A call's page as small as can be, on whichever release of livekit-client its address names. Tests use it to see that
// applications built years ago take part in calls.
//
// It has the class names and data attributes of our own page, so that the driver (person.mjs, inpage.mjs) works in both.
// No more of livekit-client is used than what its first 2.x release had; what came later is used where it is there.
const query = new URLSearchParams(location.search);
const [server, call] = [query.get('server'), query.get('call')];
const { ConnectionState, Room, RoomEvent } = await import(`./clients/${query.get('version')}.mjs`);

/** Our page's topics and attribute (web/src/session). */
const REACTION_TOPIC = 'reaction';
const CHAT_TOPIC = 'lk.chat';
const HAND_ATTRIBUTE = 'raised_hand';

/** An element of a class (or `tag.class`), with attributes and children. */
function element(description, attributes = {}, ...children) {
  const [tag, ...classes] = description.split('.');
  const made = document.createElement(tag || 'div');
  if (classes.length > 0) made.className = classes.join(' ');
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** A button that does something; a browser's refusal is a line of its console. */
function button(attributes, press) {
  const made = element('button', { type: 'button', ...attributes });
  made.onclick = () => void Promise.resolve(press()).catch((error) => console.error(`failed: ${error}`));
  return made;
}

// --- the lobby ---

function lobby() {
  const name = element('input', { id: 'own-name' });
  const form = element(
    'form.lobby-form',
    {},
    name,
    element('.preview-controls', {}, element('button.control', { type: 'button', 'aria-label': 'Mute' })),
    element('button', { type: 'submit' }, 'Join'),
  );
  form.onsubmit = (event) => {
    event.preventDefault();
    join(name.value).catch((error) => form.append(element('p.trouble', {}, error.message)));
  };
  document.body.replaceChildren(element('.lobby', {}, form));
}

async function join(name) {
  const identity = crypto.randomUUID();
  const asked = JSON.stringify({ server, call, name, identity });
  const answer = await fetch('token', { method: 'POST', body: asked });
  const { token, error } = await answer.json();
  if (!answer.ok) throw new Error(error);
  const room = new Room({ adaptiveStream: true, dynacast: true });
  const page = new CallPage(room);
  await room.connect(server, token);
  await room.localParticipant.setMicrophoneEnabled(true);
  page.show();
}

// --- the call ---

class CallPage {
  #room;
  /** What shows or sounds each subscribed track. */
  #playing = new Map();
  #media = element('.media');
  #shared = element('.shared-place');
  #tiles = element('.tiles');
  #banners = element('.banners');
  #controls = element('.controls');
  #reactions = element('.reactions');
  #panel = element('.panel', { 'data-panel-name': 'chat' });
  #call = element('.call', { 'data-connection': 'connected' });

  constructor(room) {
    this.#room = room;
    const draw = () => this.#draw();
    for (const event of [
      'ConnectionStateChanged', 'ParticipantConnected', 'ParticipantDisconnected', 'ParticipantAttributesChanged',
      'TrackMuted', 'TrackUnmuted', 'LocalTrackPublished', 'LocalTrackUnpublished', 'ActiveSpeakersChanged',
    ]) {
      if (RoomEvent[event] !== undefined) room.on(RoomEvent[event], draw);
    }
    room.on(RoomEvent.TrackSubscribed, (track, publication, from) => {
      this.#play(track, publication, from);
      draw();
    });
    room.on(RoomEvent.TrackUnsubscribed, (track) => {
      track.detach();
      this.#playing.get(track)?.remove();
      this.#playing.delete(track);
      draw();
    });
    room.on(RoomEvent.DataReceived, (payload, from, _kind, topic) => {
      if (topic === REACTION_TOPIC) this.#rise(JSON.parse(new TextDecoder().decode(payload)).emoji, from.name);
    });
    room.registerTextStreamHandler?.(CHAT_TOPIC, async (reader, from) => {
      const writer = room.remoteParticipants.get(from.identity);
      this.#message(await reader.readAll(), writer?.name ?? from.identity, false);
    });
    room.on(RoomEvent.Disconnected, () => {
      document.body.replaceChildren(element('p.prose', {}, 'The call is over for you.'));
    });
  }

  show() {
    const leave = button({ class: 'control-leave' }, () => this.#room.disconnect());
    this.#call.append(
      element('h1', {}, call), this.#banners, this.#tiles, this.#shared, this.#media, this.#controls, leave,
      this.#reactions, this.#panel,
    );
    document.body.replaceChildren(this.#call);
    this.#fillPanel();
    this.#draw();
  }

  #play(track, { source }, { identity }) {
    const played = track.attach();
    if (track.kind === 'audio') {
      played.dataset.identity = identity;
      played.dataset.source = source;
      this.#media.append(played);
      this.#playing.set(track, played);
    } else {
      const shared = element('.shared', { 'data-share': identity }, played);
      this.#shared.replaceChildren(shared);
      this.#playing.set(track, shared);
    }
  }

  #draw() {
    const { localParticipant: own, remoteParticipants: others, state } = this.#room;
    this.#call.dataset.connection = state;
    const banner = state === ConnectionState.Connected ? undefined : 'reconnecting';
    this.#banners.replaceChildren(...(banner === undefined ? [] : [element('p', { 'data-banner': banner })]));
    this.#tiles.replaceChildren(...[own, ...others.values()].map(tile));
    const isMuted = !own.isMicrophoneEnabled;
    const hasHand = Boolean(own.attributes?.[HAND_ATTRIBUTE]);
    const isSharing = own.isScreenShareEnabled;
    this.#controls.replaceChildren(
      button({ 'data-action': 'microphone', 'aria-label': isMuted ? 'Unmute' : 'Mute' }, () =>
        own.setMicrophoneEnabled(isMuted),
      ),
      button({ 'data-action': 'hand', 'aria-label': hasHand ? 'Lower hand' : 'Raise hand' }, () =>
        own.setAttributes({ [HAND_ATTRIBUTE]: hasHand ? '' : new Date().toISOString() }),
      ),
      button({ 'data-action': 'share', 'aria-label': isSharing ? 'Stop sharing' : 'Share screen' }, () =>
        own.setScreenShareEnabled(!isSharing),
      ),
      button({ 'aria-label': 'React' }, () => this.#offerReactions(own)),
    );
  }

  #offerReactions(own) {
    const open = document.querySelector('.reactions-row');
    if (open !== null) return open.remove();
    const emoji = '🎉';
    const payload = new TextEncoder().encode(JSON.stringify({ emoji }));
    const send = () => own.publishData(payload, { reliable: true, topic: REACTION_TOPIC });
    this.#call.append(element('.reactions-row', {}, button({ 'aria-label': `React with ${emoji}` }, send)));
  }

  #rise(emoji, name) {
    const reaction = element('.floating-reaction', { 'data-emoji': emoji }, element('span.floating-name', {}, name));
    this.#reactions.append(reaction);
  }

  #fillPanel() {
    const field = element('textarea');
    const { localParticipant: own } = this.#room;
    field.onkeydown = async (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      const text = field.value;
      field.value = '';
      await own.sendText(text, { topic: CHAT_TOPIC });
      this.#message(text, own.name, true);
    };
    this.#panel.append(element('form.chat-form', {}, field));
  }

  #message(text, from, isOwn) {
    this.#panel.append(
      element('.message', { 'data-from': from, 'data-own': isOwn }, element('span.message-text', {}, text)),
    );
  }
}

function tile(participant) {
  return element('.tile', {
    'data-identity': participant.identity,
    'data-name': participant.name,
    'data-muted': !participant.isMicrophoneEnabled,
    'data-speaking': participant.isSpeaking,
    'data-hand': Boolean(participant.attributes?.[HAND_ATTRIBUTE]),
  });
}

lobby();
