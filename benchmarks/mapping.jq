# The default mapping as a filter, for the events of the benchmark.
def customer($given):
  { source_id: (.userId // .anonymousId),
    name: ($given.name // ([$given.firstName, $given.lastName] | map(select(. != null)) | join(" "))),
    email: $given.email,
    description: $given.description,
    phone: $given.phone,
    address: ({ city: $given.address.city, state: $given.address.state, line_1: $given.address.street,
                country: $given.address.country, postal_code: $given.address.postalCode }
              | with_entries(select(.value != null and .value != ""))),
    metadata: (($given.metadata // {}) | with_entries(select(.value != null))) }
  | with_entries(select(.value != null and .value != {} and .value != ""));

if .type == "identify" then customer(.traits)
elif .type == "track" then { event: .event, customer: customer(.properties) }
else empty end
