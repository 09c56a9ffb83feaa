// What runs inside a call's page before the page itself: microphone and camera of our making, and instruments.

/**
 * Sent into the page as text with its options, so it stands alone.
 *
 * `tone`: hertz of the microphone's sound, by which others know who speaks. `devices`: `'all'`, `'none'` (the machine
 * has none) or `'denied'` (the person refused). `drawnScreen`: sharing a screen gives a drawn picture of the code
 * instead of what the browser captures. `readCode`, `drawCode`: the functions of `code.mjs`.
 */
export function installInstruments({ tone, devices, drawnScreen }, readCode, drawCode) {
  if (window.__calls !== undefined) return;
  const connections = [];

  const Original = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Original {
    constructor(...options) {
      super(...options);
      connections.push(this);
    }
  };

  // --- microphone and camera ---

  let audio;
  const audioContext = () => (audio ??= new AudioContext());

  /**
   * Makes a drawn or synthesized track answer as that of a device does: it knows its device, and bears to be told to
   * come from it, which some releases of livekit-client do when they unmute or reconnect.
   */
  function ofDevice(track, deviceId) {
    const settings = track.getSettings.bind(track);
    track.getSettings = () => ({ ...settings(), deviceId, groupId: 'calls' });
    track.applyConstraints = async () => {};
    return track;
  }

  function toneTrack() {
    const context = audioContext();
    const oscillator = new OscillatorNode(context, { frequency: tone });
    const gain = new GainNode(context, { gain: 0.3 });
    const end = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    oscillator.connect(gain).connect(end);
    oscillator.start();
    context.resume();
    return ofDevice(end.stream.getAudioTracks()[0], 'tone');
  }

  function pictureTrack() {
    const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 480 });
    const context = canvas.getContext('2d');
    let frame = 0;
    const draw = () => {
      context.fillStyle = `hsl(${tone % 360} 35% 45%)`;
      context.fillRect(0, 0, 640, 480);
      context.fillStyle = 'rgb(255 255 255 / 0.85)';
      context.beginPath();
      context.arc(320 + 120 * Math.cos(frame / 20), 240 + 80 * Math.sin(frame / 20), 60, 0, 7);
      context.fill();
      frame++;
    };
    draw();
    const track = canvas.captureStream(15).getVideoTracks()[0];
    const timer = setInterval(() => (track.readyState === 'ended' ? clearInterval(timer) : draw()), 66);
    return ofDevice(track, 'picture');
  }

  /** A screen of the page's own: the code, ten numbers a second, until the track is stopped. */
  function screenTrack() {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
    let number = 0;
    drawCode(canvas, number);
    const track = canvas.captureStream(10).getVideoTracks()[0];
    const timer = setInterval(() => (track.readyState === 'ended' ? clearInterval(timer) : drawCode(canvas, ++number)), 100);
    return track;
  }

  const media = navigator.mediaDevices;
  if (media !== undefined) {
    media.getUserMedia = async (wanted = {}) => {
      if (devices === 'none') throw new DOMException('Requested device not found', 'NotFoundError');
      if (devices === 'denied') throw new DOMException('Permission denied', 'NotAllowedError');
      return new MediaStream([...(wanted.audio ? [toneTrack()] : []), ...(wanted.video ? [pictureTrack()] : [])]);
    };
    if (drawnScreen) media.getDisplayMedia = async () => new MediaStream([screenTrack()]);
    const device = (kind, deviceId, label) => ({ kind, deviceId, label, groupId: 'calls', toJSON: () => ({}) });
    media.enumerateDevices = async () =>
      devices === 'none'
        ? []
        : [
            device('audioinput', 'tone', devices === 'denied' ? '' : `Tone of ${tone} Hz`),
            device('videoinput', 'picture', devices === 'denied' ? '' : 'Moving picture'),
          ];
  }

  // --- instruments ---

  const all = (selector) => [...document.querySelectorAll(selector)];
  const nameOf = (identity) =>
    all('.tile[data-identity]').find((tile) => tile.dataset.identity === identity)?.dataset.name ?? null;

  /** Loudness and strongest frequency of everybody else's sound over `ms` milliseconds. */
  async function measure(ms) {
    const context = audioContext();
    await context.resume();
    const ears = all('audio[data-identity]')
      .filter((element) => element.srcObject instanceof MediaStream)
      .map((element) => {
        const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
        const source = new MediaStreamAudioSourceNode(context, { mediaStream: element.srcObject });
        source.connect(analyser);
        const bins = analyser.frequencyBinCount;
        return { element, analyser, source, sum: 0, count: 0, spectrum: new Float64Array(bins), bins: new Float32Array(bins) };
      });
    const samples = new Float32Array(2048);
    const end = performance.now() + ms;
    // The first block of a new analyser is silence that nobody sent. No event tells when it has another: a timer, which
    // is right also in pages that are hidden and never painted.
    await new Promise((resolve) => setTimeout(resolve, 60));
    while (performance.now() < end) {
      for (const ear of ears) {
        ear.analyser.getFloatTimeDomainData(samples);
        for (const sample of samples) ear.sum += sample * sample;
        ear.count += samples.length;
        ear.analyser.getFloatFrequencyData(ear.bins);
        ear.bins.forEach((decibel, bin) => {
          if (decibel > -200) ear.spectrum[bin] += 10 ** (decibel / 10);
        });
      }
      // The pace of listening: about as long as the samples of one look last.
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    return ears.map(({ element, source, sum, count, spectrum }) => {
      source.disconnect();
      let strongest = 1;
      spectrum.forEach((power, bin) => {
        if (bin > 0 && power > spectrum[strongest]) strongest = bin;
      });
      const rms = count === 0 ? 0 : Math.sqrt(sum / count);
      return {
        name: nameOf(element.dataset.identity),
        identity: element.dataset.identity,
        source: element.dataset.source,
        rms,
        frequency: spectrum[strongest] > 0 ? (strongest * context.sampleRate) / 8192 : 0,
      };
    });
  }

  const canvas = document.createElement('canvas');

  /** The code in the shared screen as received: null number if there is a screen but no code in it. */
  function code() {
    const video = document.querySelector('.shared video');
    if (video === null || video.videoWidth === 0) return null;
    canvas.width = 320;
    canvas.height = 180;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0, 320, 180);
    return {
      number: readCode(context.getImageData(0, 0, 320, 180).data, 320, 180),
      width: video.videoWidth,
      height: video.videoHeight,
    };
  }

  /** What the peer connections count, in the words of the statistics, reduced to what tests ask. */
  async function stats() {
    const result = { protocol: null, state: null, inbound: [], outbound: [] };
    for (const connection of connections) {
      if (connection.connectionState === 'closed') continue;
      result.state = connection.connectionState;
      const reports = [...(await connection.getStats()).values()];
      const byId = new Map(reports.map((report) => [report.id, report]));
      const transport = reports.find((report) => report.type === 'transport' && report.selectedCandidatePairId);
      const pair =
        byId.get(transport?.selectedCandidatePairId) ??
        reports.find((report) => report.type === 'candidate-pair' && report.selected) ??
        reports.find((report) => report.type === 'candidate-pair' && report.nominated && report.state === 'succeeded');
      const local = byId.get(pair?.localCandidateId);
      if (local !== undefined) result.protocol = local.protocol.toLowerCase();
      for (const report of reports) {
        if (report.type === 'inbound-rtp' && !report.isRemote) {
          result.inbound.push({
            kind: report.kind ?? report.mediaType,
            mid: report.mid ?? null,
            packets: report.packetsReceived ?? 0,
            lost: report.packetsLost ?? 0,
            bytes: report.bytesReceived ?? 0,
            jitter: report.jitter ?? 0,
            concealedSamples: report.concealedSamples ?? 0,
            totalSamples: report.totalSamplesReceived ?? 0,
            framesDecoded: report.framesDecoded ?? 0,
            freezes: report.freezeCount ?? 0,
            plis: report.pliCount ?? 0,
            nacks: report.nackCount ?? 0,
          });
        }
        if (report.type === 'outbound-rtp' && !report.isRemote) {
          result.outbound.push({
            kind: report.kind ?? report.mediaType,
            mid: report.mid ?? null,
            rid: report.rid ?? null,
            packets: report.packetsSent ?? 0,
            bytes: report.bytesSent ?? 0,
            retransmitted: report.retransmittedPacketsSent ?? 0,
            plis: report.pliCount ?? 0,
            nacks: report.nackCount ?? 0,
          });
        }
      }
    }
    return result;
  }

  /** What the person sees. */
  function state() {
    const phase = document.querySelector('.call') ? 'call' : document.querySelector('.lobby') ? 'lobby' : 'message';
    const trouble = document.querySelector('.lobby-form .trouble');
    return {
      phase,
      title: document.querySelector('h1')?.textContent ?? '',
      connection: document.querySelector('.call')?.dataset.connection ?? null,
      problem: trouble?.textContent ?? (phase === 'message' ? (document.querySelector('.prose')?.textContent ?? null) : null),
      notices: all('.notice p').map((notice) => notice.textContent),
      banners: all('[data-banner]').map((banner) => banner.dataset.banner),
      people: all('.tile[data-identity]').map(({ dataset }) => ({
        name: dataset.name,
        identity: dataset.identity,
        muted: dataset.muted === 'true',
        speaking: dataset.speaking === 'true',
        hand: dataset.hand === 'true',
        host: dataset.host === 'true',
      })),
      hands: all('.hands li').map((hand) => hand.dataset.name),
      sharing: all('[data-share]').map((share) => nameOf(share.dataset.share)),
      chat: all('.message').map((message) => ({
        from: message.dataset.from,
        own: message.dataset.own === 'true',
        text: message.querySelector('.message-text').textContent,
      })),
      reactions: all('.floating-reaction').map((reaction) => ({
        emoji: reaction.dataset.emoji,
        name: reaction.querySelector('.floating-name').textContent,
      })),
    };
  }

  window.__calls = { measure, code, stats, state, connections };
}
