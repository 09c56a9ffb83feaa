// Moving pictures that cost a codec what real ones do: what browsers pretend as a camera compresses to almost nothing.

/** The smallest that livekit-client sends in three layers, because two people's encoders share a machine here. */
const [WIDTH, HEIGHT] = [960, 540];
/** Frames a second. */
const CAMERA_RATE = 15;
const SCREEN_RATE = 5;
/** Pictures of grain that take turns; a codec cannot foretell one from another. */
const N_GRAINS = 4;

/** A camera: a textured background that the view pans over, and the grain of a cheap sensor. */
export function pictureTrack() {
  const texture = noise(WIDTH * 2, HEIGHT * 2, 24);
  const grains = Array.from({ length: N_GRAINS }, () => noise(WIDTH, HEIGHT, 2));
  return drawn(CAMERA_RATE, (context, frame) => {
    // Whole pixels: resampling would cost more than encoding.
    const x = Math.round(((1 + Math.sin(frame / 40)) * WIDTH) / 2);
    const y = Math.round(((1 + Math.cos(frame / 60)) * HEIGHT) / 2);
    context.globalAlpha = 1;
    context.drawImage(texture, -x, -y);
    context.globalAlpha = 0.08;
    context.drawImage(grains[frame % N_GRAINS], 0, 0);
    context.globalAlpha = 1;
    context.fillStyle = '#d9a066';
    context.beginPath();
    context.arc(WIDTH / 2 + 150 * Math.sin(frame / 10), HEIGHT / 2, 90, 0, 7);
    context.fill();
  });
}

/** A shared screen: a page of text in which a line is written, and that scrolls every few seconds. */
export function screenTrack() {
  const line = (number) => `${number}: ${'the quick brown fox jumps over the lazy dog '.repeat(2).slice(0, 50 + (number % 30))}`;
  const track = drawn(SCREEN_RATE, (context, frame) => {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.fillStyle = '#111';
    context.font = '16px monospace';
    const top = Math.floor(frame / 25) * 8;
    for (let row = 0; row < 28; row++) {
      const text = line(top + row);
      context.fillText(row === 14 ? text.slice(0, (frame % 25) * 3) : text, 12, 18 + row * 19);
    }
  });
  track.contentHint = 'detail';
  return track;
}

function drawn(rate, draw) {
  const canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT });
  const context = canvas.getContext('2d', { alpha: false });
  let frame = 0;
  draw(context, frame);
  const track = canvas.captureStream(rate).getVideoTracks()[0];
  const timer = setInterval(() => {
    if (track.readyState === 'ended') clearInterval(timer);
    else draw(context, ++frame);
  }, 1000 / rate);
  return track;
}

/** Grey noise in cells of so many pixels, smoothed where they are large. */
function noise(width, height, cell) {
  const small = new OffscreenCanvas(Math.ceil(width / cell), Math.ceil(height / cell));
  const context = small.getContext('2d');
  const pixels = context.createImageData(small.width, small.height);
  // xorshift32 (Marsaglia, 2003): the same pictures in every run.
  let state = 0x9e3779b9;
  for (let at = 0; at < pixels.data.length; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    pixels.data.set([state & 0xff, (state >> 8) & 0xff, (state >> 16) & 0xff, 0xff], at);
  }
  context.putImageData(pixels, 0, 0);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext('2d').drawImage(small, 0, 0, width, height);
  return canvas;
}
