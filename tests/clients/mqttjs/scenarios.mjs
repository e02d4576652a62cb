// What MQTT.js and the broker make of each other.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { deadline, fence, numbers, until } from "./harness.mjs";

/** A message arrives with the lower of its own QoS and that of the subscription. */
export async function every_pair_of_qos(context) {
  const publisher = await context.connected("publisher");
  for (const granted of [0, 1, 2]) {
    const subscriber = await context.connected(`subscriber-${granted}`);
    await subscriber.subscribe(context.topic(`to-${granted}/#`), granted);
    for (const sent of [0, 1, 2]) {
      const topic = context.topic(`to-${granted}/${sent}`);
      await publisher.publish(topic, `payload ${sent}`, sent);
      const wanted = { qos: Math.min(sent, granted), retain: false, dup: false };
      await subscriber.expect(topic, `payload ${sent}`, wanted);
    }
  }
}

/** Five hundred messages of each QoS in one stream: each QoS keeps its order, none is lost. */
export async function order_of_each_qos(context) {
  const subscriber = await context.connected("subscriber");
  await subscriber.subscribe(context.topic("#"), 2);
  const publisher = await context.connected("publisher");
  const sent = [];
  for (const index of numbers(500)) {
    for (const qos of [0, 1, 2]) sent.push(publisher.publish(context.topic("t"), `${index}`, qos));
    // MQTT.js does not look at the broker's receive maximum.
    if (sent.length % 60 === 0) await Promise.all(sent.splice(0));
  }
  const arrived = await subscriber.take(1500);
  for (const qos of [0, 1, 2]) {
    const found = arrived.filter((message) => message.qos === qos).map(({ text }) => Number(text));
    assert.deepEqual(found, numbers(500), `QoS ${qos}`);
    await fence(publisher, subscriber, context.topic("t"), qos);
  }
}

/** Two thousand messages of QoS 2, each once, in order. */
export async function qos_2_is_exactly_once(context) {
  const subscriber = await context.connected("subscriber");
  await subscriber.subscribe(context.topic("once"), 2);
  const publisher = await context.connected("publisher");
  const count = 2000;
  const sent = [];
  for (const index of numbers(count)) {
    sent.push(publisher.publish(context.topic("once"), `${index}`, 2));
    // MQTT.js does not look at the broker's receive maximum.
    if (sent.length % 50 === 0) await Promise.all(sent.splice(0));
  }
  const arrived = await subscriber.take(count);
  assert.deepEqual(arrived.map(({ text }) => Number(text)), numbers(count));
  await fence(publisher, subscriber, context.topic("once"), 2);
}

/** A mebibyte arrives as it was, and so do the bytes that are no text. */
export async function large_and_binary_payloads(context) {
  const subscriber = await context.connected("subscriber");
  await subscriber.subscribe(context.topic("large"), 1);
  const publisher = await context.connected("publisher");
  for (const size of [0, 1, 127, 128, 16_384, 1 << 20, 5 << 20]) {
    const payload = randomBytes(size);
    await publisher.publish(context.topic("large"), payload, 1);
    const message = await subscriber.next(`${size} bytes`);
    assert.equal(message.payload.length, size);
    assert.equal(digest(message.payload), digest(payload), `${size} bytes`);
  }
}

function digest(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The last retained message waits, flagged; an empty one clears it. */
export async function retained(context) {
  const publisher = await context.connected("publisher");
  const live = await context.connected("live");
  await live.subscribe(context.topic("lamp"), 1);
  for (const state of ["off", "on"]) {
    await publisher.publish(context.topic("lamp"), state, 1, { retain: true });
    await live.expect(context.topic("lamp"), state, { qos: 1, retain: false });
  }
  const late = await context.connected("late");
  await late.subscribe(context.topic("+"), 1);
  await late.expect(context.topic("lamp"), "on", { qos: 1, retain: true });
  await publisher.publish(context.topic("lamp"), "", 1, { retain: true });
  await late.expect(context.topic("lamp"), "", { qos: 1, retain: false });
  const later = await context.connected("later");
  await later.subscribe(context.topic("lamp"), 1);
  await fence(publisher, later, context.topic("lamp"), 1);
}

/** A lost connection publishes the will; a goodbye discards it. */
export async function will(context) {
  const observer = await context.connected("observer");
  await observer.subscribe(context.topic("will"), 2);
  const words = (payload, qos) => ({
    will: { topic: context.topic("will"), payload: Buffer.from(payload), qos, retain: false },
  });
  const polite = await context.connected("client", words("never", 1));
  await polite.disconnect();
  for (const qos of [0, 1, 2]) {
    const lost = await context.connected("client", words(`gone ${qos}`, qos));
    await lost.drop();
    await observer.expect(context.topic("will"), `gone ${qos}`, { qos, retain: false });
  }
}

/** A persistent session collects QoS 1 and 2 while its client is away, and keeps the order. */
export async function messages_wait_in_order(context) {
  const away = await context.connected("away", { clean: false });
  await away.subscribe(context.topic("queue/#"), 2);
  await away.disconnect();
  const publisher = await context.connected("publisher");
  for (const index of numbers(200)) {
    await Promise.all([0, 1, 2].map(
      (qos) => publisher.publish(context.topic(`queue/${qos}`), `${index}`, qos)));
  }
  const back = context.client("away", { clean: false });
  await back.connect(true);
  const arrived = await back.take(400);
  for (const qos of [1, 2]) {
    const found = arrived.filter((message) => message.qos === qos).map(({ text }) => Number(text));
    assert.deepEqual(found, numbers(200), `QoS ${qos}`);
    await fence(publisher, back, context.topic(`queue/${qos}`), qos);
  }
  await back.disconnect();
  const clean = context.client("away", { clean: true });
  await clean.connect(false);
}

/** MQTT.js connects again by itself, subscribes again, and sends what it could not. */
export async function reconnect(context) {
  const client = await context.connected("client", { reconnectPeriod: 50 });
  await client.subscribe(context.topic("news"), 1);
  const publisher = await context.connected("publisher", { clean: false, reconnectPeriod: 50 });
  for (const round of numbers(5)) {
    client.mqtt.stream.destroy();
    await client.packet("suback");
    await publisher.publish(context.topic("news"), `live ${round}`, 1);
    await client.expect(context.topic("news"), `live ${round}`, { qos: 1 });
    // Sent into a connection that is gone, and again on the next one.
    publisher.mqtt.stream.destroy();
    await publisher.publish(context.topic("news"), `through ${round}`, 2);
    const message = await client.expect(context.topic("news"), `through ${round}`, { qos: 1 });
    assert.equal(message.retain, false);
  }
}

/** QoS 2 stays exactly once while both ends lose their connections. */
export async function qos_2_is_exactly_once_over_lost_connections(context) {
  const options = { clean: false, reconnectPeriod: 20 };
  const subscriber = await context.connected("subscriber", options);
  await subscriber.subscribe(context.topic("once"), 2);
  const publisher = await context.connected("publisher", options);
  const count = 300;
  const sent = [];
  for (const index of numbers(count)) {
    sent.push(publisher.publish(context.topic("once"), `${index}`, 2));
    if (index % 40 === 20) subscriber.mqtt.stream?.destroy();
    if (index % 60 === 30) publisher.mqtt.stream?.destroy();
    if (sent.length % 10 === 0) await Promise.all(sent.splice(0));
  }
  await Promise.all(sent);
  const found = (await subscriber.take(count)).map(({ text }) => Number(text));
  assert.deepEqual(found.toSorted((a, b) => a - b), numbers(count), "each message once");
  await fence(publisher, subscriber, context.topic("once"), 2);
}

/** A second connection of the same client id ends the first. */
export async function takeover(context) {
  const first = await context.connected("client", { clean: false });
  await first.subscribe(context.topic("queue"), 1);
  const second = context.client("client", { clean: false });
  await second.connect(true);
  await deadline(first.closed, "the end of the first connection");
  if (context.v5 && !context.foreign) {
    const goodbye = await deadline(first.disconnected, "DISCONNECT of the first connection");
    assert.equal(goodbye.reasonCode, 0x8e, "reason of the takeover");
  }
  await second.publish(context.topic("queue"), "for the second", 1);
  await second.expect(context.topic("queue"), "for the second", { qos: 1 });
  assert.equal(first.arrived.length, 0, "messages of the first connection");
}

/** Three members of a group get 90 messages between them, each one once. */
export async function shared_subscription(context) {
  const members = [];
  for (const index of numbers(3)) {
    const member = await context.connected(`member-${index}`);
    await member.subscribe(`$share/group/${context.topic("jobs")}`, 1);
    members.push(member);
  }
  const publisher = await context.connected("publisher");
  const sent = numbers(90).map(
    (index) => publisher.publish(context.topic("jobs"), `${index}`, 1));
  await Promise.all(sent);
  // Each message goes by way of the group's shard, so nothing else can tell when it is there.
  const every = () => members.flatMap(({ arrived }) => arrived.map(({ text }) => Number(text)));
  await until(() => every().length >= 90, "90 messages");
  assert.deepEqual(every().toSorted((a, b) => a - b), numbers(90));
  for (const member of members) {
    assert.ok(member.arrived.length > 0, `${member.name} got nothing`);
    member.arrived.length = 0;
    await member.subscribe(context.topic(`fence/${member.name}`), 1);
    await fence(publisher, member, context.topic(`fence/${member.name}`), 1);
  }
}

/** After UNSUBACK nothing more comes. */
export async function unsubscribe(context) {
  const client = await context.connected("client");
  await client.subscribe(context.topic("a"), 1);
  await client.subscribe(context.topic("b"), 1);
  const publisher = await context.connected("publisher");
  await publisher.publish(context.topic("a"), "one", 1);
  await client.expect(context.topic("a"), "one", { qos: 1 });
  await client.unsubscribe(context.topic("a"));
  await publisher.publish(context.topic("a"), "two", 1);
  await fence(publisher, client, context.topic("b"), 1);
}

/** 5.0 only: properties of a message are handed on. */
export async function properties(context) {
  const subscriber = await context.connected("subscriber");
  await subscriber.subscribe(context.topic("t"), 1, { properties: { subscriptionIdentifier: 5 } });
  const publisher = await context.connected("publisher");
  await publisher.publish(context.topic("t"), "x", 1, {
    properties: {
      userProperties: { a: ["1", "2"], b: "3" },
      contentType: "text/plain",
      payloadFormatIndicator: true,
      responseTopic: context.topic("answer"),
      correlationData: Buffer.from([0, 1, 255]),
      messageExpiryInterval: 1000,
    },
  });
  const { properties: found } = await subscriber.expect(context.topic("t"), "x", { qos: 1 });
  assert.deepEqual({ ...found.userProperties }, { a: ["1", "2"], b: "3" });
  assert.equal(found.contentType, "text/plain");
  assert.equal(found.payloadFormatIndicator, true);
  assert.equal(found.responseTopic, context.topic("answer"));
  assert.deepEqual([...found.correlationData], [0, 1, 255]);
  assert.equal(found.subscriptionIdentifier, 5);
  assert.ok(found.messageExpiryInterval > 990 && found.messageExpiryInterval <= 1000);
}

/** 5.0 only: no-local, retain-as-published and retain handling. */
export async function subscription_options(context) {
  const client = await context.connected("client");
  const other = await context.connected("other");
  await client.subscribe(context.topic("chat"), 1, { nl: true });
  await client.subscribe(context.topic("fence"), 1);
  await client.publish(context.topic("chat"), "own", 1);
  await fence(client, client, context.topic("fence"), 1);
  await other.publish(context.topic("chat"), "other's", 1);
  await client.expect(context.topic("chat"), "other's", { qos: 1 });

  await client.subscribe(context.topic("kept"), 1, { rap: true });
  await other.publish(context.topic("kept"), "on", 1, { retain: true });
  await client.expect(context.topic("kept"), "on", { retain: true });
  await client.subscribe(context.topic("kept"), 1, { rh: 1 });
  await client.subscribe(context.topic("kept"), 1, { rh: 2 });
  await fence(other, client, context.topic("kept"), 1);
  await client.subscribe(context.topic("kept"), 1, { rh: 0 });
  await client.expect(context.topic("kept"), "on", { retain: true });
}

/** 5.0 only: aliases that both sides choose by themselves never mix up topics. */
export async function topic_aliases(context) {
  const subscriber = await context.connected("subscriber", { properties: { topicAliasMaximum: 4 } });
  await subscriber.subscribe(context.topic("#"), 1);
  const publisher = await context.connected("publisher", { autoAssignTopicAlias: true });
  const wanted = numbers(200).map((index) => context.topic(`t/${(index * index) % 11}`));
  const sent = wanted.map((topic, index) => publisher.publish(topic, `${index}`, 1));
  const arrived = await subscriber.take(200);
  await Promise.all(sent);
  assert.deepEqual(arrived.map(({ text }) => Number(text)), numbers(200));
  assert.deepEqual(arrived.map(({ topic }) => topic), wanted);
}

/** 5.0 only: a request is answered where it asked to be. */
export async function request_and_response(context) {
  const responder = await context.connected("responder");
  await responder.subscribe(context.topic("requests"), 1);
  const requester = await context.connected("requester");
  await requester.subscribe(context.topic("answers"), 1);
  await requester.publish(context.topic("requests"), "6 * 7", 1, {
    properties: { responseTopic: context.topic("answers"), correlationData: Buffer.from("42?") },
  });
  const request = await responder.next("the request");
  await responder.publish(request.properties.responseTopic, "42", 1, {
    properties: { correlationData: request.properties.correlationData },
  });
  const answer = await requester.expect(context.topic("answers"), "42", { qos: 1 });
  assert.equal(answer.properties.correlationData.toString(), "42?");
}
