// Builds the dashboard into the folder that src/control/dashboard.rs embeds.
//
// Names without hashes, so that the table in that file is stable; the broker puts a digest of all
// files into their path.
import { defineConfig } from 'vite';
import { licenses } from './licenses.mjs';

export default defineConfig({
  base: './',
  plugins: [
    {
      name: 'licenses',
      apply: 'build',
      generateBundle() {
        this.emitFile({ type: 'asset', fileName: 'assets/licenses.txt', source: licenses(import.meta.dirname) });
      },
    },
  ],
  build: {
    outDir: process.env.OUT ?? '../src/control/dashboard',
    emptyOutDir: true,
    target: 'es2022',
    cssCodeSplit: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/app.js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/app[extname]',
      },
    },
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/api': process.env.HAWKER_ADMIN ?? 'http://127.0.0.1:18083' },
  },
});
