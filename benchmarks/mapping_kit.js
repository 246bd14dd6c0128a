// The mapping of Segment's own destinations, @segment/actions-core, with the default mapping. Lines in, lines out.
//
//     npm install @segment/actions-core liquidjs   (in a folder that NODE_PATH names, with /node_modules)
const readline = require("readline");
const { transform } = require("@segment/actions-core");

const field = (path) => ({ "@path": `$.${path}` });
const first = (path, otherwise) => ({
  "@if": { exists: field(path), then: field(path), else: otherwise },
});
const customer = (root) => ({
  source_id: first("userId", field("anonymousId")),
  name: first(`${root}.name`, { "@template": `{{${root}.firstName}} {{${root}.lastName}}` }),
  email: field(`${root}.email`),
  description: field(`${root}.description`),
  phone: field(`${root}.phone`),
  address: {
    city: field(`${root}.address.city`),
    state: field(`${root}.address.state`),
    line_1: field(`${root}.address.street`),
    country: field(`${root}.address.country`),
    postal_code: field(`${root}.address.postalCode`),
  },
  metadata: field(`${root}.metadata`),
});
const mappings = {
  identify: customer("traits"),
  track: { event: field("event"), customer: customer("properties") },
};

// What the mapping has no words for: blank texts, an empty address or metadata are not sent, nor is a null.
function settle(person) {
  person.name = person.name && person.name.trim();
  if (!person.name) delete person.name;
  for (const part of ["address", "metadata"]) {
    const object = person[part] || {};
    for (const key of Object.keys(object))
      if (object[key] == null || (part === "address" && object[key] === "")) delete object[key];
    if (Object.keys(object).length === 0) delete person[part];
  }
  for (const key of Object.keys(person)) if (person[key] == null || person[key] === "") delete person[key];
}

let text = "";
readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const event = JSON.parse(line);
    const body = transform(mappings[event.type], event);
    settle(event.type === "identify" ? body : body.customer);
    text += JSON.stringify(body) + "\n";
    if (text.length > 1 << 16) {
      process.stdout.write(text);
      text = "";
    }
  })
  .on("close", () => process.stdout.write(text));
