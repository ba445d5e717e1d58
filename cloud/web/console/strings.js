// Every text of the console, in one place.

/** Why a decision refused, in words; other codes are shown as they come. @type {Record<string, string>} */
export const refusals = {
  "no consent": "No consent to be messaged",
  staff: "Staff",
  "universal holdout": "In the universal holdout",
  "quiet hours": "Quiet hours",
  "cap: 1 a visit": "Already had one this visit",
  "cap: 4 h apart": "The last message was too recent",
  "cap: 1 a day": "Already had one today",
  "cap: 2 in 7 days": "Already had enough this week",
};

/** @type {Record<string, string>} */
export const zoneKinds = {
  street: "Street", entrance: "Entrance", aisle: "Aisle", shelf: "Shelf", till: "Till", fitting: "Fitting room",
  staff: "Staff only",
};

/** @type {Record<string, string>} */
export const nodeStates = { online: "Online", offline: "Offline", late: "Late", unknown: "Never seen", never: "Never seen" };

/** @type {Record<string, string>} */
export const campaignStates = { running: "Running", started: "Running", stopped: "Stopped", draft: "Draft" };

export const t = {
  product: "Aisle",
  tagline: "See where people go in your stores, and what it is worth.",
  titles: {
    map: "Map", zones: "Zones", visits: "Visits", campaigns: "Campaigns", nodes: "Nodes",
  },
  pageTitle: /** @param {string} page @param {string} store */ (page, store) => `${page} · ${store} · Aisle`,
  skip: "Skip to the content",
  pages: "Pages",
  store: "Store",
  toLight: "Light theme",
  toDark: "Dark theme",
  signOut: "Sign out",
  signedInAs: /** @param {string} login @param {string} roles */ (login, roles) => `${login} (${roles})`,

  demoTitle: "DEMO DATA",
  demo: "People, receipts and radio signals here are simulated.",

  login: {
    title: "Log in",
    login: "Login",
    password: "Password",
    submit: "Log in",
    busy: "Logging in…",
    wrong: "That login and password do not match.",
    ended: "Your session has ended. Log in again.",
    help: "Accounts are made by your administrator. A demo prints its accounts where it was started.",
  },

  errors: {
    away: "The service does not answer. The page tries again by itself.",
    awayTitle: "The service is away",
    awayText: "No answer came. Check that it is running and that this device is connected.",
    broken: "The service failed to answer. Its log names the reason.",
    forbidden: "Your role does not include this. Ask your administrator for access.",
    missing: "The service knows nothing of this.",
    refused: "The service refused the request.",
    unauthorised: "Log in again.",
    retry: "Try again",
  },

  noStores: {
    title: "No store yet",
    text: "A store appears here once its plan is sent: PUT /v1/stores/{store} with floors, zones and nodes. /docs shows the document.",
  },
  noPlan: {
    title: "This store has no floor plan",
    text: "Send floors, zones and nodes with PUT /v1/stores/{store}; /docs shows the document. The map draws itself from it.",
  },

  ranges: {
    legend: "Period",
    today: "Today",
    yesterday: "Yesterday",
    week: "7 days",
    all: "All",
  },

  live: {
    live: "Live",
    connecting: "Connecting",
    away: "Reconnecting",
    asOf: /** @param {string} time */ (time) => `as of ${time}`,
  },

  map: {
    plan: /** @param {string} name */ (name) => `Floor plan of ${name}. The same figures stand in the lists beside it.`,
    floor: "Floor",
    peopleNow: "People now",
    peopleIn: "in the store",
    byZone: "By zone",
    nodesOnline: /** @param {number} online @param {number} all */ (online, all) => `${online} of ${all} nodes online`,
    layers: "Layers",
    heat: "Heat",
    nodes: "Nodes",
    names: "Names",
    tracks: "Asset tracks",
    opacity: "Strength",
    legendUnit: /** @param {string} layer @param {string} unit */ (layer, unit) => `${layer}, ${unit}`,
    mean: { minutes: "mean minutes", seconds: "mean seconds" },
    perArea: { minutes: "minutes per m²", seconds: "seconds per m²", hours: "hours per m²" },
    visits: /** @param {string} n */ (n) => `${n} visits`,
    layer: "What the map shows",
    layers_: { presence: "Presence", stops: "First stops", dwell: "Dwell" },
    stopsPerArea: "per m²",
    save: "Save as",
    panel: /** @param {string} share @param {string} low @param {string} high @param {string} weight */ (share, low, high, weight) =>
      `Recognised: ${share} of shoppers (${low} to ${high}). Each stands for ${weight}.`,
    noPanel: "What share of shoppers this shows is not known yet: it takes a day with receipts.",
    toldUntil: /** @param {string} time */ (time) => `Told up to ${time}. An hour is told when it is over; it becomes finer when the day is.`,
    suppressed: "Too few people to draw, or not told yet",
    suppressedText: /** @param {number} k */ (k) =>
      `Every spot on the map stands for at least ${k} people, so that nobody can be followed. An hour is told when it is over, first stops and dwell after midnight. Choose a longer period.`,
    blank: "Nobody was placed here in this period",
    blankText: "Choose a longer period. If it stays blank, look at Nodes: positions need nodes that are online.",
    notTold: "Nothing of whole days in this period",
    notToldText: "First stops and dwell are told once a day is over and enough people were there. Choose a period with such a day.",
    loading: "Loading the map",
    wholePeriod: "Whole period",
    play: "Play",
    pause: "Pause",
    time: "Time",
    step: /** @param {string} length */ (length) => `Steps of ${length}`,
    at: /** @param {string} x @param {string} y */ (x, y) => `${x} m, ${y} m`,
    lastAt: /** @param {string} label @param {string} time */ (label, time) => `${label}, last at ${time}`,
    nodeLabel: /** @param {string} node @param {string} state */ (node, state) => `Node ${node}: ${state}`,
    waiting: "Waiting for the first live count",
  },

  crowd: {
    title: "Everybody, estimated",
    about: /** @param {string} n */ (n) => `about ${n}`,
    of: { people: "people", devices: "devices heard (how many people that is, nobody has counted yet)" },
    interval: /** @param {string} low @param {string} high */ (low, high) => `${low} to ${high} in 80 of 100 cases`,
    nothing: "No node has told of devices in the last minutes.",
    drift: "Devices no longer stand for as many people as they did: count heads again.",
    count: "Heads counted in the store now",
    countFirst: "Count the heads in the store now: the estimate learns from it",
    save: "Tell",
    thanks: "Thank you. It counts once the nodes have told of these minutes.",
  },

  few: {
    short: /** @param {number} k */ (k) => `<${k}`,
    long: /** @param {number} k */ (k) => `fewer than ${k}`,
    why: /** @param {number} k */ (k) => `Fewer than ${k}: the exact number is hidden so that nobody can be singled out.`,
    note: /** @param {number} k */ (k) => `<${k} means fewer than ${k} people. The exact number is hidden so that nobody can be singled out.`,
  },

  zones: {
    zone: "Zone", kind: "Kind", visits: "Visits", mean: "Mean dwell", median: "Median dwell", conversion: "Conversion",
    conversionHelp: "Conversion: the share of this zone's visits that are joined with a receipt.",
    none: "–",
    empty: "No visits in this period",
    emptyText: "A zone shows here once people with a recognised tag or app have been in it. Choose a longer period, or look at Nodes to see who listens.",
  },

  visits: {
    anonymous: "Not a member",
    inStore: "In the store",
    receipt: "Receipt",
    noReceipt: "No receipt joined",
    confidence: /** @param {string} share */ (share) => `${share} sure`,
    started: "Started", length: "Length", who: "Who", path: "Zones and dwell",
    empty: "No visits yet",
    emptyText: "A visit begins when a member's tag or app is placed in the store. Check that nodes are online and that members consented to in-store sensing.",
    newest: /** @param {number} n */ (n) => `The newest ${n}`,
  },

  campaigns: {
    empty: "No campaign yet",
    emptyText: "Make a segment, an offer and a campaign with POST /v1/segments, /v1/offers and /v1/campaigns, then start it; /docs shows each document.",
    rule: /** @param {string} zone @param {string} dwell */ (zone, dwell) => `Dwells in ${zone} for ${dwell}`,
    audience: /** @param {string} segment */ (segment) => `Segment ${segment}`,
    everyone: "All members",
    control: /** @param {string} share */ (share) => `${share} control`,
    back: "All campaigns",
    start: "Start",
    stop: "Stop",
    lift: "Lift in buyers",
    pp: "percentage points",
    ppShort: "pp",
    noLift: "No lift yet",
    tooEarly: "Too early to tell",
    noLiftText: "Lift appears when both groups have members whose visit is over.",
    interval: /** @param {string} low @param {string} high */ (low, high) => `95% interval ${low} to ${high}`,
    intervalLabel: /** @param {string} lift @param {string} low @param {string} high */ (lift, low, high) =>
      `Lift ${lift} percentage points, 95% interval from ${low} to ${high}`,
    noEffect: "no effect",
    unsure: "The interval includes zero: with this few decisions the true effect may be nothing at all. Let the campaign run on.",
    small: "Groups this small give uncertain figures. Read the interval, not the single number.",
    group: "Group", people: "Decisions", bought: "Bought", rate: "Share that bought",
    target: "Got the offer", controlGroup: "Control (ghosts)",
    funnel: "From decision to use",
    funnelLabel: "Decided, sent, shown and used",
    decided: "Decided", sent: "Sent", shown: "Shown", clicked: "Opened", used: "Used",
    ghostsTitle: "Ghosts",
    ghosts: /** @param {string} n */ (n) =>
      `${n} members qualified for the offer and by chance were not sent it: what they bought anyway is what the lift is measured against.`,
    refused: "Refused, by reason",
    noneRefused: "Nothing was refused.",
    noDecision: "This campaign has not decided anything yet",
    noDecisionText: "A decision is made when a consenting member of the segment dwells long enough in the zone. Check that the campaign is started and that members visit.",
  },

  nodes: {
    empty: "No node yet",
    emptyText: "Name nodes in the store's plan, then start one with python -m edge node.toml. It shows here as soon as it connects.",
    lastSeen: "Last seen", never: "never", heard: "Adverts", perSecond: /** @param {string} n */ (n) => `${n}/s`,
    backlog: "Outbox", batches: /** @param {string} n */ (n) => `${n} waiting`,
    drained: "Empty", oldest: /** @param {string} age */ (age) => `oldest ${age}`,
    stored: "Batches stored", dropped: "Dropped", reconnects: "Reconnects", memory: "Memory", megabytes: /** @param {string} n */ (n) => `${n} MB`,
    uptime: "Up", version: "Version", clock: "Clock", clockTrusted: "Trusted", clockUntrusted: "Not trusted",
    sources: "What it hears", sourceStates: { ok: "OK", silent: "Silent", down: "Down" },
    source: /** @param {string} perSecond @param {string} heard */ (perSecond, heard) => `${perSecond}/s, ${heard} in all`,
    safe: "Safe mode: the configuration on the node is broken; it runs on the last one that was good.",
    drift: /** @param {number} desired @param {string} running @param {string} age */ (desired, running, age) =>
      `It runs configuration ${running}, not ${desired} as was ordered ${age}.`,
    certDays: "Certificate", days: /** @param {string} n */ (n) => `${n} days left`,
    disk: "Disk free", hot: "Temperature", celsius: /** @param {string} n */ (n) => `${n} °C`, weak: "under-voltage or throttled",
    claim: "Get a code", claimTitle: "Type this on the node within 15 minutes. It is good once and not shown again.",
    claimHow: /** @param {string} code @param {string} api */ (code, api) => `python -m edge claim ${code} --api ${api}`,
    restarts: "Scan restarts", dead: "Dead letters", zone: "Zone", noHealth: "No heartbeat yet: the first comes within 30 seconds of connecting.",
    onlineOf: /** @param {number} online @param {number} all */ (online, all) => `${online} of ${all} online`,
    deadTitle: "Dead letters",
    deadNone: "Every message was understood and stored.",
    deadText: "Messages that could not be stored. The node was told and does not send them again.",
    at: "At", node: "Node", detail: "Detail", size: "Size", bytes: /** @param {string} n */ (n) => `${n} B`,
  },
};
