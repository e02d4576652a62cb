// As much of MQTT over WebSocket as the client tool needs, for 3.1.1 and 5.0.
import { createRequire } from 'node:module';
import { matches } from './state.mjs';

// What MQTT.js itself is made of.
const { generate, parser } = createRequire(createRequire(import.meta.url).resolve('mqtt'))('mqtt-packet');
const { WebSocketServer } = createRequire(createRequire(import.meta.url).resolve('mqtt'))('ws');

export function listen(port) {
  const server = new WebSocketServer({ port, host: '127.0.0.1', path: '/mqtt', handleProtocols: () => 'mqtt' });
  const everyone = new Set();
  server.on('connection', (socket) => {
    const client = { filters: new Map(), options: {}, send: (packet) => socket.readyState === 1 && socket.send(generate(packet, client.options)) };
    const packets = parser();
    packets.on('packet', (packet) => handle(client, packet, everyone, packets));
    packets.on('error', () => socket.close());
    socket.on('message', (data) => packets.parse(data));
    socket.on('close', () => everyone.delete(client));
    client.end = () => socket.close();
  });
  return server;
}

function handle(client, packet, everyone) {
  const five = client.options.protocolVersion === 5;
  if (packet.cmd === 'connect') {
    client.options = { protocolVersion: packet.protocolVersion };
    const refused = packet.username === 'nobody';
    const five = packet.protocolVersion === 5;
    client.send({ cmd: 'connack', sessionPresent: false, ...(five ? { reasonCode: refused ? 0x86 : 0 } : { returnCode: refused ? 4 : 0 }) });
    if (refused) client.end();
    else everyone.add(client);
  } else if (packet.cmd === 'subscribe') {
    for (const { topic, qos } of packet.subscriptions) if (topic !== 'forbidden') client.filters.set(topic, qos);
    client.send({ cmd: 'suback', messageId: packet.messageId, granted: packet.subscriptions.map(({ topic, qos }) => (topic === 'forbidden' ? (five ? 0x87 : 0x80) : qos)) });
  } else if (packet.cmd === 'unsubscribe') {
    for (const filter of packet.unsubscriptions) client.filters.delete(filter);
    client.send({ cmd: 'unsuback', messageId: packet.messageId, granted: packet.unsubscriptions.map(() => 0) });
  } else if (packet.cmd === 'publish') {
    if (packet.qos === 1) client.send({ cmd: 'puback', messageId: packet.messageId });
    if (packet.qos === 2) client.send({ cmd: 'pubrec', messageId: packet.messageId });
    for (const other of everyone) {
      if ([...other.filters.keys()].some((filter) => matches(filter, packet.topic))) other.send({ cmd: 'publish', topic: packet.topic, payload: packet.payload, qos: 0, retain: false, dup: false });
    }
  } else if (packet.cmd === 'pubrel') {
    client.send({ cmd: 'pubcomp', messageId: packet.messageId });
  } else if (packet.cmd === 'pingreq') {
    client.send({ cmd: 'pingresp' });
  } else if (packet.cmd === 'disconnect') {
    client.end();
  }
}
