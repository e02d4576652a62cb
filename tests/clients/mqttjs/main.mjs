// Runs one scenario against a broker, or lists them all.
//
//     node main.mjs list
//     node main.mjs SCENARIO HOST PORT VERSION PREFIX [foreign]

import { Context } from "./harness.mjs";
import * as scenarios from "./scenarios.mjs";

const [name, host, port, version, prefix, foreign] = process.argv.slice(2);
if (name === "list") {
  console.log(Object.keys(scenarios).sort().join("\n"));
  process.exit(0);
}
const context = new Context(host, Number(port), version, prefix, foreign === "foreign");
try {
  await scenarios[name](context);
  process.exit(0);
} catch (error) {
  console.error(error);
  for (const client of context.clients) {
    if (client.error) console.error(`${client.name}: ${client.error}`);
  }
  process.exit(1);
}
