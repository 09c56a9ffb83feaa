import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// `npm run dev` serves the page with hot reload and leaves calls to a running `calls-sfu serve --dev`.
const server = 'http://127.0.0.1:7880';

export default defineConfig({
  // Assets are absolute, so that the same page works at `/` and at `/c/{call}`.
  base: '/',
  plugins: [react()],
  build: {
    target: ['chrome109', 'firefox115', 'safari16'],
    // One page and one library: a warning about its size would tell nobody anything.
    chunkSizeWarningLimit: 1500,
    rolldownOptions: {
      // LiveKit's client rarely changes between our versions; apart, it stays in the browser's cache.
      output: { codeSplitting: { groups: [{ name: 'livekit', test: /node_modules[\\/](livekit-client|@livekit)/ }] } },
    },
  },
  server: {
    proxy: {
      '/page': server,
      '/rtc': { target: server, ws: true },
    },
  },
});
