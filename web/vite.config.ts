import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// The server answers /v1 itself; in development the mock does.
const api = process.env['DDPM_API'] ?? 'http://127.0.0.1:7861';

export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // data: URLs of scripts and styles would break the content policy
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { '/v1': api, '/livez': api, '/readyz': api } },
});
