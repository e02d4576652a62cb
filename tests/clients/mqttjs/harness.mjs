// An MQTT.js client that a scenario can tell what to do and ask what happened.
//
// Every wait has one deadline. What must not happen is shown by a fence: a later message of the
// same publisher, which arrives after whatever it should have followed.

import mqtt from "mqtt";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

// How to connect.
const scheme = process.env.SCHEME ?? "tcp";
const secure = scheme === "tls" || scheme === "wss";
const SCHEMES = { tcp: "mqtt", tls: "mqtts", ws: "ws", wss: "wss" };

// When something that has not happened counts as never.
const PATIENCE_MS = 30_000;

export function deadline(promise, what) {
  let timer;
  const never = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`never happened: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, never]).finally(() => clearTimeout(timer));
}

/** Waits for something this process can see. */
export async function until(condition, what) {
  const end = performance.now() + PATIENCE_MS;
  while (!condition()) {
    assert.ok(performance.now() < end, `never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export class Client {
  constructor(context, name, options = {}) {
    this.name = name;
    this.context = context;
    this.arrived = [];
    this.waiting = [];
    const { clean = true, expiry_s = 3600, clientId, properties, ...rest } = options;
    const defaults = {
      clientId: clientId ?? `${context.prefix}-${name}`,
      protocolVersion: context.version,
      protocolId: context.version === 3 ? "MQIsdp" : "MQTT",
      clean,
      reconnectPeriod: 0,
      properties: context.v5
        ? { ...(clean ? {} : { sessionExpiryInterval: expiry_s }), ...properties }
        : undefined,
    };
    this.mqtt = mqtt.connect(`${SCHEMES[scheme]}://${context.host}:${context.port}/mqtt`, {
      ca: secure ? readFileSync(process.env.CERTIFICATE) : undefined,
      ...defaults,
      ...rest,
      manualConnect: true,
    });
    this.mqtt.on("message", (topic, payload, packet) => this.#message(topic, payload, packet));
    this.mqtt.on("error", (error) => (this.error = error));
    this.closed = new Promise((resolve) => this.mqtt.once("close", resolve));
    this.disconnected = new Promise((resolve) => this.mqtt.once("disconnect", resolve));
    context.clients.push(this);
  }

  #message(topic, payload, packet) {
    const message = { topic, payload, text: payload.toString(), ...flags(packet) };
    const waiter = this.waiting.shift();
    if (waiter) waiter(message);
    else this.arrived.push(message);
  }

  /** Connects and checks CONNACK. */
  async connect(sessionPresent = false) {
    const connack = new Promise((resolve, reject) => {
      this.mqtt.once("connect", resolve);
      this.mqtt.once("error", reject);
    });
    this.mqtt.connect();
    this.connack = await deadline(connack, `${this.name}: CONNACK`);
    // 3.1 has no session present flag.
    if (this.context.version !== 3) {
      assert.equal(this.connack.sessionPresent, sessionPresent, `${this.name}: session present`);
    }
    return this;
  }

  /** Says goodbye. */
  async disconnect() {
    await deadline(this.mqtt.endAsync(), `${this.name}: the end of the connection`);
  }

  /** Loses the connection without a word. */
  async drop() {
    this.mqtt.stream.destroy();
    await deadline(this.closed, `${this.name}: the end of the connection`);
  }

  /** Subscribes and checks SUBACK. */
  async subscribe(filter, qos, options = {}) {
    const granted = await deadline(
      this.mqtt.subscribeAsync(filter, { qos, ...options }),
      `${this.name}: SUBACK for ${filter}`,
    );
    assert.deepEqual(granted.map((each) => each.qos), [qos], `${this.name}: SUBACK`);
  }

  async unsubscribe(filter) {
    await deadline(this.mqtt.unsubscribeAsync(filter), `${this.name}: UNSUBACK for ${filter}`);
  }

  /** Publishes; the promise is kept once the message has gone all its way to the broker. */
  publish(topic, payload, qos = 0, options = {}) {
    return deadline(
      this.mqtt.publishAsync(topic, payload, { qos, ...options }),
      `${this.name}: acknowledgement on ${topic}`,
    );
  }

  /** The next packet of a kind, for what MQTT.js does by itself. */
  packet(kind) {
    const found = new Promise((resolve) => {
      const look = (packet) => {
        if (packet.cmd !== kind) return;
        this.mqtt.off("packetreceive", look);
        resolve(packet);
      };
      this.mqtt.on("packetreceive", look);
    });
    return deadline(found, `${this.name}: ${kind}`);
  }

  /** The next message that arrives. */
  next(what = "a message") {
    if (this.arrived.length > 0) return Promise.resolve(this.arrived.shift());
    const message = new Promise((resolve) => this.waiting.push(resolve));
    return deadline(message, `${this.name}: ${what}`);
  }

  async take(count) {
    const messages = [];
    while (messages.length < count) {
      messages.push(await this.next(`message ${messages.length + 1} of ${count}`));
    }
    return messages;
  }

  /** Checks that the next message is this one. */
  async expect(topic, text, wanted = {}) {
    const message = await this.next(`${text} on ${topic}`);
    const found = { topic: message.topic, text: message.text };
    for (const key of Object.keys(wanted)) found[key] = message[key];
    assert.deepEqual(found, { topic, text, ...wanted }, `${this.name}: the next message`);
    return message;
  }
}

function flags(packet) {
  const { qos, retain, dup, properties = {} } = packet;
  return { qos, retain, dup, properties };
}

export class Context {
  constructor(host, port, version, prefix, foreign) {
    Object.assign(this, { host, port, prefix, foreign, clients: [] });
    this.version = { 31: 3, 311: 4, 5: 5 }[version];
    this.v5 = this.version === 5;
  }

  /** A topic of this scenario alone. */
  topic(name) {
    return `${this.prefix}/${name}`;
  }

  client(name, options) {
    return new Client(this, name, options);
  }

  connected(name, options) {
    return this.client(name, options).connect();
  }
}

/** Shows that nothing else was on its way: the next message to arrive is the fence. */
export async function fence(publisher, subscriber, topic, qos) {
  await Promise.all([publisher.publish(topic, "fence", qos), subscriber.expect(topic, "fence")]);
}

export function numbers(count) {
  return Array.from({ length: count }, (_, index) => index);
}
