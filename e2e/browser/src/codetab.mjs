// The tab that people in Chromium share: the code of `code.mjs`, ten numbers a second.
import { drawCode } from './code.mjs';

/** The title by which Chromium is told which tab to share. */
export const CODE_TITLE = 'calls code';

/** Opens the tab in a person's context. It has the shape of a shared video, so that nothing is added at the edges. */
export async function openCodeTab(context) {
  // A window of its own: as a tab it would put the call into the background, where browsers pause video.
  const tab = await context.newPage({ type: 'window' });
  await tab.setViewport({ width: 1280, height: 720 });
  await tab.setContent(
    `<title>${CODE_TITLE}</title><style>html,body{margin:0;overflow:hidden}canvas{display:block}</style>` +
      '<canvas width="1280" height="720"></canvas>',
  );
  await tab.evaluate(`(() => {
    const draw = ${drawCode.toString()};
    const canvas = document.querySelector('canvas');
    let number = 0;
    setInterval(() => draw(canvas, ++number), 100);
  })()`);
  return tab;
}
