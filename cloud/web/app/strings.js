// Every text of the member's page, in one place.

/** @type {Record<string, string>} */
export const states = {
  sent: "New", shown: "Seen", clicked: "Opened", used: "Used", expired: "Expired", dismissed: "Not wanted",
};

export const t = {
  product: "Aisle",
  toLight: "Light theme",
  toDark: "Dark theme",
  tabs: { home: "Card", inbox: "Inbox", privacy: "Privacy" },
  pages: "Pages",

  signIn: {
    title: "Your card, on your phone",
    text: "Offers for what is beside you in the store, only if you allow them.",
    card: "Card number",
    code: "Activation code",
    codeHelp: "It came with your card or stands on your receipt.",
    submit: "Sign in",
    busy: "Signing in…",
    wrong: "That card number and code do not match.",
    ended: "You are signed out on this phone. Sign in again.",
  },
  errors: {
    away: "No connection. Try again in a moment.",
    broken: "Something failed on our side. Try again in a moment.",
    refused: "That was not accepted.",
    forbidden: "This card may not do that.",
    missing: "That is not there any more.",
    unauthorised: "Sign in again.",
    retry: "Try again",
  },

  offline: /** @param {string} at */ (at) => `You are offline. This is what was here at ${at}.`,
  connecting: "Connecting",
  live: "Live",
  away: "Offline",

  card: {
    label: /** @param {string} number */ (number) => `Card number ${number} as a bar code`,
    hello: /** @param {string} name */ (name) => `Hello, ${name}`,
    show: "Show this at the till",
  },

  offers: {
    title: "For you now",
    none: "No offer right now",
    noneText: "An offer appears here while you are in the store, when it fits and you allow it under Privacy.",
    arrived: /** @param {string} title */ (title) => `New offer: ${title}`,
    look: "Look",
    left: /** @param {string} time */ (time) => `${time} left`,
    why: "Why this?",
    coupon: "Coupon",
    use: "Show coupon",
    hide: "Hide coupon",
    couponLabel: /** @param {string} code */ (code) => `Coupon ${code} as a bar code`,
    dismiss: "Not for me",
  },

  inbox: {
    title: "Earlier offers",
    none: "Nothing here yet",
    noneText: "Offers that you used, or that ran out, are kept here.",
  },

  privacy: {
    title: "What you allow",
    text: "Each switch works at once. Off means off: nothing of that kind happens from then on.",
    saving: "Saving…",
    on: /** @param {string} title */ (title) => `${title}: on. Saved.`,
    off: /** @param {string} title */ (title) => `${title}: off. Saved.`,
    failed: /** @param {string} title @param {string} why */ (title, why) => `${title} was not changed. ${why}`,
    offline: "Switches need a connection.",
    account: "This phone",
    member: /** @param {string} since */ (since) => `Member since ${since}`,
    install: "Put on the home screen",
    signOut: "Sign out",
    signOutText: "Removes your card and offers from this phone.",
  },
};
