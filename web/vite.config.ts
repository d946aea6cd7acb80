import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';
import { makeServer } from './mock/server.mjs';

const kMockPort = 7861;
/** `npm run dev` speaks to a mock of the server, or to the one that DDPM_API names. */
const api = process.env['DDPM_API'] ?? `http://127.0.0.1:${kMockPort}`;

/** The browser's Host is kept: the server refuses pages of another origin. */
const proxied = { target: api, changeOrigin: false };

const mock: Plugin = {
  name: 'mock-of-ddpm-serve',
  configureServer(server) {
    if (process.env['DDPM_API']) return;
    const standIn = makeServer().listen(kMockPort, '127.0.0.1');
    server.httpServer?.on('close', () => standIn.close());
  },
};

export default defineConfig({
  plugins: [svelte(), mock],
  base: '/',
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // data: URLs of scripts and styles would break the content policy
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { '^/(v1|livez|readyz)': proxied } },
});
