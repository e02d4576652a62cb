// `npm run mock`: the page, the API and a WebSocket listener on loopback, at PORT (25080) and above.
import { listen } from './broker.mjs';
import { serve } from './server.mjs';

const port = Number(process.env.PORT ?? 25080);
listen(port + 1);
serve(port, { websocket: port + 1, token: process.env.TOKEN, empty: Boolean(process.env.EMPTY) });
console.log(`http://127.0.0.1:${port}`);
